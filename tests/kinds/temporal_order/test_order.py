from __future__ import annotations

import numpy as np

from recurdrop.kinds.temporal_order.data import CLASSES, DISTRACTORS, SYMBOLS, sequences


def drawn(count: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return sequences(np.random.default_rng(seed), count, length=12, low=3, high=7)


def test_the_class_is_the_order_of_the_two_symbols() -> None:
    symbols, labels = drawn()
    for row, label in zip(symbols[:200], labels, strict=False):
        assert "".join("XY"[s - DISTRACTORS] for s in row if s >= DISTRACTORS) == CLASSES[label]


def test_each_symbol_stands_in_its_range_at_any_step() -> None:
    symbols, _ = drawn()
    places = np.nonzero(symbols >= DISTRACTORS)[1].reshape(-1, 2)
    assert np.unique(places[:, 0]).tolist() == [0, 1, 2]
    assert np.unique(places[:, 1]).tolist() == [3, 4, 5, 6]
    assert np.bincount(places[:, 0]).min() > 4000 / 3 * 0.9
    assert np.bincount(places[:, 1])[3:].min() > 1000 * 0.9


def test_distractors_and_classes_are_equally_probable() -> None:
    symbols, labels = drawn()
    counts = np.bincount(symbols.ravel(), minlength=SYMBOLS)
    assert np.all(np.abs(counts[:DISTRACTORS] - 4000 * 10 / 4) < 400)
    assert np.all(np.abs(np.bincount(labels) - 1000) < 120)


def test_draws_follow_from_the_generator_alone() -> None:
    assert np.array_equal(drawn()[0], drawn()[0])
    assert not np.array_equal(drawn()[0], drawn(seed=1)[0])
