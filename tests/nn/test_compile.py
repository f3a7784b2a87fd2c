"""torch.compile draws the masks of eager, and every operator is whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from against_torch import BATCH, HIDDEN, IN_LOOP, INPUT, OURS, OUTSIDE, TIME, assert_same, numbers, step, worst
from torch import Tensor, nn

import recurdrop as rd
from recurdrop.masks import draw_key
from recurdrop.ops import native
from recurdrop.ops.contract import Problem
from recurdrop.ops.dispatch import choose

CELLS = tuple(OURS)


COMPILED = [
    pytest.param("LSTM", IN_LOOP["LSTM"], {}, id="LSTM-in_loop"),
    pytest.param("LSTM", IN_LOOP["LSTM"][0], {"proj_size": 3}, id="LSTM-projected"),
    pytest.param("LSTM", OUTSIDE, {}, id="LSTM-outside"),
    pytest.param("LSTM", None, {}, id="LSTM-none"),
    pytest.param("GRU", [*IN_LOOP["GRU"], rd.HDetach(0.4)], {"bidirectional": True}, id="GRU-in_loop"),
    pytest.param("GRU", OUTSIDE, {}, id="GRU-outside"),
    pytest.param("RNN", [*IN_LOOP["RNN"], rd.WeightNoise(0.1)], {"nonlinearity": "relu"}, id="RNN-in_loop"),
    pytest.param("RNN", None, {}, id="RNN-none"),
]


@pytest.fixture
def _compiler() -> Iterator[None]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def _graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize(("cell", "noise", "extra"), COMPILED)
def test_compiled_graph_draws_the_masks_of_eager(cell: str, noise: Any, extra: dict[str, Any]) -> None:
    layer = OURS[cell](INPUT, HIDDEN, 2, noise=noise, **extra)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = numbers(TIME, BATCH, INPUT).float()
    expected = step(layer, x)
    # float32: oneDNN's kernel does not compile, so another order of sums is allowed; measured 3e-7.
    assert_same(step(compiled, x), expected, 2e-6)
    torch.manual_seed(1)
    first, second, third = (compiled(x)[0] for _ in range(3))
    assert_same({"y": first}, {"y": expected["y"]}, 2e-6)
    if noise is not None:
        assert len({float(y.detach().sum()) for y in (first, second, third)}) == 3
    assert _graphs() <= 2  # with and without a gradient of x


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("cell", CELLS)
def test_compiled_dropout_argument(cell: str) -> None:
    layer = OURS[cell](INPUT, HIDDEN, 2, dropout=0.5)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = numbers(TIME, BATCH, INPUT).float()
    torch.manual_seed(1)
    # A graph of torch's own forward would have the same masks at every call, so ours are drawn.
    expected = step(layer, x, masks=layer.sample_masks(TIME, BATCH))
    assert_same(step(compiled, x), expected, 2e-6)
    assert worst(step(compiled, x, seed=2), expected)[0] > 0.01


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("noise", [IN_LOOP["LSTM"], OUTSIDE, rd.Zoneout()], ids=["in_loop", "outside", "zoneout"])
def test_compiled_evaluation(noise: Any) -> None:
    layer = rd.LSTM(INPUT, HIDDEN, 2, dropout=0.3, noise=noise).eval()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = numbers(TIME, BATCH, INPUT).float()
    expected = step(layer, x)
    assert_same(step(compiled, x), expected, 2e-6)
    state = torch.get_rng_state()
    with torch.no_grad():
        assert_same({"y": compiled(x)[0]}, {"y": expected["y"]}, 2e-6)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("lengths", [[5, 2, 0], [5, 5, 5]], ids=str)
def test_compiled_lengths(lengths: list[int]) -> None:
    layer = rd.LSTM(INPUT, HIDDEN, bidirectional=True, noise=IN_LOOP["LSTM"])
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x, counts = numbers(TIME, BATCH, INPUT).float(), torch.tensor(lengths)
    assert_same(step(compiled, x, lengths=counts), step(layer, x, lengths=counts), 2e-6)


class _Tagger(nn.Module):
    """Word embeddings, packing, a bidirectional layer and padding again, as taggers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.words = rd.nn.WordDropout(0.2, unk=1)
        self.embed = rd.nn.EmbeddingDropout(nn.Embedding(9, INPUT), 0.3)
        self.locked = rd.nn.LockedDropout(0.3)
        self.rnn = rd.GRU(INPUT, HIDDEN, bidirectional=True, noise=rd.Variational(0.1, 0.2, 0.1))

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(tokens, lengths, enforce_sorted=False)
        output, _ = self.rnn(self.locked(self.embed(self.words(packed))))
        padded: Tensor = nn.utils.rnn.pad_packed_sequence(output)[0]
        return padded


@pytest.mark.usefixtures("_compiler")
# Dynamo's own, at the graph breaks that packing makes.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_compiled_tagger_packs_and_pads(training: bool) -> None:
    torch.manual_seed(0)
    tagger, tokens, lengths = _Tagger().train(training), torch.randint(9, (TIME, BATCH)), torch.tensor([2, 5, 3])
    compiled = torch.compile(tagger, backend="aot_eager")
    outputs = []
    for model in (tagger, compiled):
        torch.manual_seed(1)
        outputs.append(model(tokens, lengths))
    assert_same({"y": outputs[1]}, {"y": outputs[0]}, 2e-6)


@pytest.mark.usefixtures("_compiler")
def test_two_layers_of_one_graph_draw_apart() -> None:
    layer = rd.GRU(INPUT, HIDDEN, noise=rd.Zoneout(h=0.5))

    def twice(x: Tensor) -> tuple[Tensor, Tensor]:
        return layer(x)[0], layer(x)[0]

    x = numbers(TIME, BATCH, INPUT).float()
    torch.manual_seed(1)
    expected = twice(x)
    torch.manual_seed(1)
    found = torch.compile(twice, fullgraph=True, backend="aot_eager")(x)
    assert_same(dict(enumerate(found)), dict(enumerate(expected)))
    assert not torch.equal(*found)


@pytest.mark.usefixtures("_compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_by_inductor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no C++ compiler for inductor")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    layer = rd.LSTM(INPUT, HIDDEN, noise=rd.Zoneout())
    x = numbers(TIME, BATCH, INPUT).float()
    assert_same(step(torch.compile(layer, fullgraph=True), x), step(layer, x), 2e-6)


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("theirs", [nn.LSTM, nn.GRU])
def test_torchs_own_layers_stay_outside_of_graphs(theirs: type[nn.RNNBase]) -> None:
    rd.LSTM(INPUT, HIDDEN)
    layer = theirs(INPUT, HIDDEN, 2, dropout=0.5)
    x = numbers(TIME, BATCH, INPUT).float()
    compiled = torch.compile(layer, backend="aot_eager")
    assert_same(step(compiled, x), step(layer, x))
    assert not torch.equal(compiled(x)[0], compiled(x)[0])
    assert torch._dynamo.config.allow_rnn is False


LATE = """
import sys, torch, recurdrop as rd
layer = rd.GRU(2, 3, noise=rd.Zoneout(h=0.5))
assert "torch._dynamo" not in sys.modules, "making a layer loads Dynamo"
x = torch.ones(4, 2, 2)
compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
torch.manual_seed(1)
expected, _ = layer(x)
torch.manual_seed(1)
assert torch.equal(compiled(x)[0], expected)
assert torch._dynamo.config.allow_rnn is False
"""


def test_layer_made_before_dynamo_is_loaded() -> None:
    subprocess.run([sys.executable, "-c", LATE], check=True, timeout=120)


def test_compiled_lstm_on_cpu_says_why_it_leaves_torchs_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "supports", lambda problem: "not here")
    problem = Problem("LSTM", torch.float32, "cpu", (), False, False, False, False, compiled=True)
    choice = choose(problem)
    assert choice.name == "eager"
    assert choice.refused[1] == ("torch", "oneDNN's LSTM can't be differentiated inside a compiled graph")
    with pytest.raises(rd.BackendError, match="oneDNN's LSTM can't be differentiated inside a compiled graph"):
        choose(problem, "torch")


# torch.library


def _loop_arguments(mode: str) -> tuple[Any, ...]:
    gates = {"LSTM": 4, "GRU": 3}.get(mode, 1)
    t, b, h, p = 3, 2, 4, 3 if mode == "LSTM" else 4

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64).requires_grad_()

    def mask(*shape: int) -> Tensor:
        return (torch.rand(*shape) > 0.4).double() * 1.5

    lstm = mode == "LSTM"
    return (
        mode,
        leaf(t, b, gates * h),
        leaf(b, p),
        leaf(b, h) if lstm else None,
        leaf(gates * h, p),
        leaf(h) if mode == "GRU" else None,
        leaf(p, h) if lstm else None,
        mask(1, b, gates, p) if gates > 1 else mask(t, b, p),
        mask(t, b, h) if gates > 1 else None,
        mask(1, b, h) if lstm else None,
        torch.rand(t, b, h) > 0.5 if lstm else None,
        torch.rand(t, b, p) > 0.5,
        (torch.rand(t, 1, 1) > 0.5).double(),
        mode == "GRU",
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("mode", ["LSTM", "GRU", "RNN_TANH", "RNN_RELU"])
def test_recurrence_is_a_whole_operator(mode: str) -> None:
    torch.library.opcheck(torch.ops.recurdrop.recurrence.default, _loop_arguments(mode))


@pytest.mark.parametrize("mode", ["LSTM", "GRU", "RNN_TANH"])
def test_recurrence_computes_in_the_dtype_of_its_arguments_under_autocast(mode: str) -> None:
    arguments = [
        a.detach().float().requires_grad_(a.requires_grad) if isinstance(a, Tensor) and a.is_floating_point() else a
        for a in _loop_arguments(mode)
    ]
    leaves = [a for a in arguments if isinstance(a, Tensor) and a.requires_grad]
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            h, *_ = torch.ops.recurdrop.recurrence(*arguments)
            found = torch.autograd.grad((h * numbers(*h.shape, like=h)).sum(), leaves)
        results.append({"h": h} | {f"d_{i}": g for i, g in enumerate(found)})
    assert_same(*results)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_random_numbers_are_whole_operators() -> None:
    key = draw_key()
    torch.library.opcheck(torch.ops.recurdrop.keep_bits.default, (key, 7, [3, 2, 4, 5], 2**31))
    for dtype in (torch.float32, torch.float64):
        torch.library.opcheck(torch.ops.recurdrop.normals.default, (key, 7, [3, 2, 1, 5], dtype))
