from __future__ import annotations

import numpy as np
import torch

from recurdrop.kinds.language.streams import Streams


def test_streams_by_hand() -> None:
    first, second = Streams(np.arange(12), batch=2, length=3)  # streams 0..4 and 5..9; 11 fills no stream
    assert first[0].tolist() == [[0, 5], [1, 6], [2, 7]]
    assert first[1].tolist() == [[1, 6], [2, 7], [3, 8]]
    assert second[0].tolist() == [[3, 8], [4, 9]]
    assert second[1].tolist() == [[4, 9], [5, 10]]


def test_streams_can_be_read_again_and_give_every_target_once() -> None:
    streams = Streams(np.arange(101), batch=4, length=7)
    assert len(streams) == 4
    for _ in range(2):
        targets = torch.cat([target for _, target in streams])
        assert sorted(targets.flatten().tolist()) == list(range(1, 101))


def test_the_last_token_is_a_target_when_all_fits() -> None:
    ((words, targets),) = Streams(np.arange(5), batch=2, length=9)
    assert words.tolist() == [[0, 2], [1, 3]]
    assert targets.tolist() == [[1, 3], [2, 4]]
