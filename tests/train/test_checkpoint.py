from __future__ import annotations

import json
import math
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from recurdrop.train.checkpoint import SafeCheckpoints, read_checkpoint, write_checkpoint

TENSORS = [
    torch.tensor([1.5, -0.0, math.inf, -math.inf, math.nan]),
    torch.tensor([0.1, 3e38, math.nan], dtype=torch.bfloat16),
    torch.tensor([1 / 3, 5e-324], dtype=torch.float64),
    torch.tensor([[True, False], [False, True]]),
    torch.tensor([-(2**63), 2**63 - 1]),
    torch.arange(7, dtype=torch.uint8),
    torch.tensor([6e-8], dtype=torch.float16),
    torch.tensor(2.5),
    torch.tensor(True),
    torch.empty(0),
    torch.empty(3, 0, 2, dtype=torch.int32),
]


def same(a: Any, b: Any) -> bool:
    """Whether two states are the same to the bit, types and orders included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        flat = [x.detach().contiguous().reshape(-1).view(torch.uint8) for x in (a, b)]
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*flat)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


def back(path: Path, state: Any) -> Any:
    write_checkpoint(path, state)
    return read_checkpoint(path)


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda x: f"{x.dtype}-{tuple(x.shape)}")
def test_a_tensor_comes_back_bit_for_bit(tmp_path: Path, tensor: Tensor) -> None:
    assert same(back(tmp_path / "a", tensor), tensor)


@pytest.mark.parametrize(
    "state",
    [
        None,
        True,
        -3,
        2**70,
        0.1,
        5e-324,
        math.inf,
        -math.inf,
        math.nan,
        -0.0,
        "words, ü and \0",
        [],
        (),
        {},
        {"tensor": "t0"},
        {"items": []},
        {"float": "nan", "tuple": [1]},
        {0: "a", 1: {2: (3.5, [None, (True,)])}, "0": "b", None: 2, (1, "x"): [math.inf]},
        [1, 1.0, True, "1"],
    ],
    ids=repr,
)
def test_a_plain_state_comes_back_as_it_was(tmp_path: Path, state: Any) -> None:
    assert same(back(tmp_path / "a", state), state)


def test_a_nested_state_with_tensors_comes_back(tmp_path: Path) -> None:
    state = {"state": {3: {"mean": TENSORS[1], "n": 4}}, "groups": [{"lr": 1e-3, "params": [0, 1]}], "all": TENSORS}
    assert same(back(tmp_path / "a", state), state)


def test_tensors_of_one_storage_views_and_parameters_are_stored_by_value(tmp_path: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    parameter = torch.nn.Parameter(torch.ones(2))
    state = {"a": whole, "b": whole, "row": whole[1], "turned": whole.T, "wide": torch.ones(1).expand(4)}
    found = back(tmp_path / "a", OrderedDict(state, p=parameter))
    assert all(same(found[name], tensor.contiguous()) for name, tensor in state.items())
    assert type(found["p"]) is Tensor
    assert not found["p"].requires_grad
    assert found["p"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "thing", [object(), {1, 2}, b"bytes", torch.float32, Path("a"), 1j, len], ids=lambda thing: type(thing).__name__
)
def test_things_that_are_not_plain_are_refused_when_written(tmp_path: Path, thing: object) -> None:
    path = tmp_path / "a"
    write_checkpoint(path, 1)
    with pytest.raises(TypeError, match=f"a checkpoint holds plain values and tensors; got {type(thing).__name__}"):
        write_checkpoint(path, {"a": [thing]})
    assert read_checkpoint(path) == 1


def refused(path: Path, why: str, about: str | None = None) -> None:
    with pytest.raises(ValueError, match=why) as error:
        read_checkpoint(path, about)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none", "a checkpoint must be a file")
    refused(tmp_path, "a checkpoint must be a file")


def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_checkpoint(path, {"a": torch.arange(5.0), "b": "text"}, "x")
    data = path.read_bytes()
    for length in [*range(0, len(data), 7), len(data) - 1]:
        path.write_bytes(data[:length])
        refused(path, "a checkpoint must be a whole safetensors file")
    path.write_bytes(data + b"\0")
    refused(path, "a checkpoint must be a whole safetensors file")


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    state = {"a": torch.arange(5.0), "b": ["text", 0.5]}
    write_checkpoint(path, state, "x")
    data = path.read_bytes()
    reasons = set()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        try:
            found = read_checkpoint(path, "x")
        except ValueError as error:
            reasons.add(str(error).split(";")[0])
        else:
            assert same(found, state), place  # white space in the header
    assert reasons == {
        "a checkpoint must be a whole safetensors file",
        "a checkpoint must be one of recurdrop's",
        "a checkpoint must be as it was written, and its checksum differs",
        "a checkpoint must be of this run's data and settings",
    }


@pytest.mark.parametrize("part", [b"\x00\x00\x80\x3f", b"0.5]"], ids=["tensor", "tree"])
def test_a_changed_value_is_refused_by_its_checksum(tmp_path: Path, part: bytes) -> None:
    path = tmp_path / "a"
    write_checkpoint(path, {"a": torch.arange(5.0), "b": ["text", 0.5]})
    data = path.read_bytes()
    assert data.count(part) == 1
    path.write_bytes(data.replace(part, bytes([part[0] ^ 1]) + part[1:]))
    refused(path, "its checksum differs")


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_file({"a": torch.ones(2)}, path)
    refused(path, "a checkpoint must be one of recurdrop's")
    save_file({"a": torch.ones(2)}, path, {"format": "pt"})
    refused(path, "a checkpoint must be one of recurdrop's")
    torch.save({"a": torch.ones(2)}, path)
    refused(path, "a checkpoint must be a whole safetensors file")
    path.write_text(json.dumps({"a": 1}))
    refused(path, "a checkpoint must be a whole safetensors file")


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harm",)

    path = tmp_path / "a"
    path.write_bytes(pickle.dumps(Harm()))
    refused(path, "a checkpoint must be a whole safetensors file")
    assert not (tmp_path / "harm").exists()
    pickle.loads(path.read_bytes())  # noqa: S301
    assert (tmp_path / "harm").exists()


def test_a_checkpoint_is_read_where_it_belongs(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_checkpoint(path, 1, "mine")
    assert read_checkpoint(path) == read_checkpoint(path, "mine") == 1
    refused(path, "a checkpoint must be of this run's data and settings", "other")
    refused(path, "a checkpoint must be of this run's data and settings", "")


def test_lightning_s_interface_reads_what_it_wrote_and_asks_whose_it_is(tmp_path: Path) -> None:
    path, state = tmp_path / "a", {"epoch": 1, "state_dict": {"w": torch.ones(2)}}
    mine = SafeCheckpoints("mine")
    mine.save_checkpoint(state, path)
    assert same(mine.load_checkpoint(path), state)
    with pytest.raises(ValueError, match="of this run's data"):
        SafeCheckpoints("other").load_checkpoint(path)
    mine.remove_checkpoint(path)
    assert not path.exists()


def test_what_a_kill_left_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_checkpoint(path, 1)
    for part in (f"a.{os.getpid()}.part", "a.1.part"):
        (tmp_path / part).write_bytes(b"half")
    assert read_checkpoint(path) == 1
    write_checkpoint(path, 2)
    assert read_checkpoint(path) == 2
    assert sorted(os.listdir(tmp_path)) == ["a", "a.1.part"]  # that of another process stays: it may be at work


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def kill(_: int) -> None:
        raise Killed

    path = tmp_path / "a"
    write_checkpoint(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", kill)
        with pytest.raises(Killed):
            write_checkpoint(path, "new")
    assert (tmp_path / f"a.{os.getpid()}.part").exists()
    assert read_checkpoint(path) == "old"


def test_nothing_of_pickle_is_imported_or_called() -> None:
    from recurdrop.train import checkpoint

    source = Path(checkpoint.__file__).read_text()
    assert "pickle" not in source
    assert "torch.load" not in source
    assert "torch.save" not in source
