"""Events in time: found in probabilities, and compared with those that there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Counts(NamedTuple):
    """What a comparison of events comes to.

    Attributes:
        hits: detections of an event.
        detections: all of them.
        events: all that there are.
    """

    hits: int
    detections: int
    events: int

    @property
    def precision(self) -> float:
        """Share of the detections that are hits; 0 without detections."""
        return self.hits / self.detections if self.detections else 0.0

    @property
    def recall(self) -> float:
        """Share of the events that were hit; 0 without events."""
        return self.hits / self.events if self.events else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where there are neither detections nor events."""
        return 2 * self.hits / max(1, self.detections + self.events)


def detections(probabilities: NDArray[np.float32], step: float, threshold: float, refractory: float) -> list[float]:
    """Return the times at which a probability rises to a threshold, in seconds.

    Args:
        probabilities: (frames,); before the first frame they count as 0.
        step: seconds from frame to frame; frame s has the time (s + 1) · step.
        threshold: a detection is a frame that reaches it and whose predecessor does not.
        refractory: seconds after a detection in which there is no other.
    """
    above = probabilities >= threshold
    rising = np.flatnonzero(above & ~np.concatenate([[False], above[:-1]]))
    found: list[float] = []
    for time in ((rising + 1) * step).tolist():
        if not found or time - found[-1] >= refractory:
            found.append(time)
    return found


def compare(clips: Iterable[tuple[Sequence[float], Sequence[float]]], tolerance: float) -> Counts:
    """Count hits over clips.

    A detection is a hit if it is no further from an event than the tolerance, before or after, and no earlier
    detection has taken that event; it takes the earliest such event. That is event-based evaluation with a collar on
    onsets (Mesaros, Heittola & Virtanen 2016, doi:10.3390/app6060162), where every event has its detection as onset.

    Args:
        clips: for each clip the times of detections and of events in seconds, rising.
        tolerance: in seconds.
    """
    hits = found = there = 0
    for times, events in clips:
        left = list(events)
        found, there = found + len(times), there + len(left)
        for time in times:
            near = next((event for event in left if abs(time - event) <= tolerance), None)
            if near is not None:
                left.remove(near)
                hits += 1
    return Counts(hits, found, there)
