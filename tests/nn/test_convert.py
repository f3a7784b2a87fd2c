"""`regularize` and `plain`: layers change places inside a model, and nothing else of it changes."""

from __future__ import annotations

import copy
import pickle
import warnings
from abc import ABC, abstractmethod
from typing import Any

import pytest
import torch
from against_torch import BATCH, FORMS, HIDDEN, INPUT, OURS, TIME, TORCH, assert_same, forward_backward, numbers
from torch import Tensor, nn
from torch.nn.utils import parametrize

import recurdrop as rd

CELLS = tuple(OURS)
NOISE = rd.Variational(0.4, 0.3, 0.5)


class Model(nn.Module):
    """One layer of each cell, one of them under two names, in containers and out of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(INPUT, HIDDEN)
        self.stack = nn.ModuleList([nn.LSTM(HIDDEN, HIDDEN, 2, dropout=0.2)])
        self.stack.append(nn.GRU(HIDDEN, HIDDEN, bidirectional=True))
        self.parts = nn.ModuleDict({"rnn": nn.Sequential(nn.RNN(2 * HIDDEN, HIDDEN, nonlinearity="relu"))})
        self.again = self.stack[0]
        self.out = nn.Linear(HIDDEN, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.stack[0](self.embed(x))
        y, _ = self.again(y)
        y, _ = self.stack[1](y)
        y, _ = self.parts["rnn"](y)
        return self.out(y)

    def layers(self) -> list[Any]:
        return [self.stack[0], self.stack[1], self.parts["rnn"][0]]


@pytest.fixture
def model() -> Model:
    return Model()


X = numbers(TIME, BATCH, INPUT).float()


def test_parameters_keep_their_identity_and_their_order(model: Model) -> None:
    before = list(model.named_parameters())
    keys = list(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert rd.regularize(model, NOISE) is model
    after = list(model.named_parameters())
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(new is old for (_, new), (_, old) in zip(after, before, strict=True))
    assert list(model.state_dict()) == keys
    assert [type(layer) for layer in model.layers()] == [rd.LSTM, rd.GRU, rd.RNN]
    assert all(layer.noise is NOISE for layer in model.layers())
    frozen = [p.detach().clone() for p in model.parameters()]
    model(X).sum().backward()
    optimizer.step()
    assert not any(torch.equal(p, old) for p, old in zip(model.parameters(), frozen, strict=True))


def test_regularized_model_is_the_same_function_without_noise(model: Model) -> None:
    expected = copy.deepcopy(model)
    rd.regularize(model, NOISE)
    for train, noise in ((False, NOISE), (True, None)):
        rd.regularize(model, noise)
        for m in (model, expected):
            m.train(train)
        torch.manual_seed(1)
        y = expected(X)
        torch.manual_seed(1)
        assert torch.equal(model(X), y)
    rd.regularize(model.train(), NOISE)
    assert not torch.allclose(model(X), expected(X))


def test_everything_about_a_layer_is_kept(model: Model) -> None:
    model.stack[0].weight_hh_l0.requires_grad_(False)
    model.stack[0].note = "mine"
    model.stack[1].eval()
    rd.regularize(model, NOISE)
    lstm, gru, rnn = model.layers()
    assert (lstm.num_layers, lstm.dropout, lstm.note, lstm.training) == (2, 0.2, "mine", True)
    assert not lstm.weight_hh_l0.requires_grad
    assert (gru.bidirectional, gru.training) == (True, False)
    assert (rnn.nonlinearity, rnn.mode) == ("relu", "RNN_RELU")
    rd.plain(model)
    lstm, gru, rnn = model.layers()
    assert (lstm.num_layers, lstm.dropout, lstm.note, lstm.training) == (2, 0.2, "mine", True)
    assert (gru.bidirectional, gru.training) == (True, False)
    assert rnn.mode == "RNN_RELU"


def test_a_layer_with_two_names_stays_one_layer(model: Model) -> None:
    rd.regularize(model, NOISE)
    assert model.again is model.stack[0]
    rd.plain(model)
    assert model.again is model.stack[0]
    assert type(model.again) is nn.LSTM


def test_tied_parameters_stay_tied() -> None:
    model = nn.ModuleList([nn.GRU(HIDDEN, HIDDEN), nn.GRU(HIDDEN, HIDDEN)])
    model[1].weight_hh_l0 = model[0].weight_hh_l0
    rd.regularize(model, NOISE)
    assert model[1].weight_hh_l0 is model[0].weight_hh_l0
    assert len(list(model.parameters())) == 7


def test_hooks_go_on(model: Model) -> None:
    calls: list[str] = []
    lstm = model.stack[0]
    lstm.register_forward_hook(lambda *_: calls.append("forward"))
    lstm.register_forward_pre_hook(lambda *_: calls.append("before"))
    lstm.register_full_backward_hook(lambda *_: calls.append("backward"))
    lstm.register_state_dict_post_hook(lambda *_: calls.append("saved"))
    lstm.register_load_state_dict_pre_hook(lambda *_: calls.append("loaded"))
    handle = lstm.register_forward_hook(lambda *_: calls.append("removed"))
    handle.remove()
    lstm.weight_hh_l0.register_hook(lambda g: calls.append("weight"))
    for change in (lambda m: rd.regularize(m, NOISE), rd.plain):
        change(model)
        calls.clear()
        model(X).sum().backward()
        assert calls.count("before") == calls.count("forward") == calls.count("backward") == 2
        assert calls.count("weight") == 1
        model.load_state_dict(model.state_dict())
        assert calls.count("saved") == calls.count("loaded") == 2
        assert "removed" not in calls


def test_handles_of_hooks_go_on(model: Model) -> None:
    calls: list[str] = []
    handle = model.stack[0].register_forward_hook(lambda *_: calls.append("forward"))
    rd.regularize(model, NOISE)
    handle.remove()
    model(X)
    assert not calls
    handle = model.stack[0].register_forward_hook(lambda *_: calls.append("forward"))
    rd.plain(model)
    handle.remove()
    model(X)
    assert not calls


class Beside(nn.Module):
    """A model that reaches its layer in another way than through the attribute."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.rnn = nn.LSTM(INPUT, HIDDEN)
        self.kept: Any = {
            "list": [self.rnn],
            "dict": {"a": (self.rnn,)},
            "call": self.rnn.__call__,
            "forward": self.rnn.forward,
            "forwards": ([self.rnn.forward], {"a": self.rnn.forward}),
            "lambda": lambda x: self.rnn(x),
        }[way]

    def forward(self, x: Tensor) -> Tensor:
        kept = self.kept
        if self.way == "list":
            return kept[0](x)[0]
        if self.way == "dict":
            return kept["a"][0](x)[0]
        if self.way == "forwards":
            return kept[0][0](x)[0] + kept[1]["a"](x)[0]
        return kept(x)[0]


@pytest.mark.parametrize("way", ["list", "dict", "call", "forward", "forwards", "lambda"])
def test_whichever_way_a_model_reaches_its_layer_there_is_noise(way: str) -> None:
    model = Beside(way)
    quiet = model(X)
    rd.regularize(model, NOISE)
    assert not torch.equal(model(X), model(X))
    rd.plain(model)
    assert torch.equal(model(X), quiet)


@pytest.mark.parametrize("how", ["model", "layer", "wrapper"])
def test_models_that_were_compiled_before_get_noise_and_lose_it(how: str) -> None:
    torch._dynamo.reset()
    model = Beside("list")
    called: Any = model
    if how == "wrapper":
        called = torch.compile(model, backend="eager")
    else:
        (model if how == "model" else model.rnn).compile(backend="eager")
    quiet = called(X)
    rd.regularize(called, NOISE)
    assert not torch.equal(called(X), called(X))
    rd.plain(called)
    assert torch.equal(called(X), quiet)


def wrap(layer: nn.Module) -> None:
    """What libraries do that move weights about: a function in place of the forward that has caught the old one."""
    old = layer.forward
    layer.forward = lambda *args: old(*args)  # type: ignore[method-assign]


def test_a_layer_whose_forward_was_replaced_is_left_alone_and_that_is_said() -> None:
    model = nn.Sequential(nn.GRU(INPUT, HIDDEN))
    wrap(model[0])
    with pytest.warns(UserWarning, match="left alone: 0 has a forward of its own, set on the object; delete it"):
        rd.regularize(model, NOISE)
    assert type(model[0]) is nn.GRU
    assert "no noise: 0 has a forward of its own" in str(rd.describe(model))
    assert not rd.describe(model).uses
    del model[0].forward
    rd.regularize(model, NOISE)
    quiet = rd.plain(copy.deepcopy(model))[0](X)[0]
    wrap(model[0])
    assert not torch.equal(model[0](X)[0], quiet)  # the function has caught ours
    with pytest.warns(UserWarning, match="0 stays a layer of recurdrop, without noise"):
        rd.plain(model)
    assert torch.equal(model[0](X)[0], quiet)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cells_and_scripted_layers_are_left_alone_and_that_is_said() -> None:
    model = nn.ModuleDict({"cell": nn.LSTMCell(INPUT, HIDDEN), "rnn": torch.jit.script(nn.GRU(INPUT, HIDDEN))})
    with pytest.warns(UserWarning, match="cell is LSTMCell, a cell for loops in Python") as caught:
        rd.regularize(model, NOISE)
    assert "rnn is compiled by torch.jit" in str(caught[0].message)
    assert len(rd.describe(model).notes) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripting_takes_layers_without_noise_as_torchs_and_refuses_noise() -> None:
    model = nn.Sequential(rd.LSTM(INPUT, HIDDEN, 2))
    scripted = torch.jit.script(model)
    torch.testing.assert_close(scripted(X)[0], model(X)[0])
    rd.regularize(model, NOISE)
    with pytest.raises(RuntimeError, match=r"torch.jit can't compile noise.*rd\.plain\(model\)"):
        torch.jit.script(model)
    torch.testing.assert_close(torch.jit.script(rd.plain(model))(X)[0], model(X)[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quantization_says_that_it_passes_over_our_layers() -> None:
    from torch.ao.quantization import quantize_dynamic

    model = nn.Sequential(rd.LSTM(INPUT, HIDDEN, noise=NOISE))
    with pytest.warns(UserWarning, match=r"quantization knows torch's own layers.*rd\.plain\(model\)"):
        quantize_dynamic(model, {nn.LSTM}, dtype=torch.qint8)


@pytest.mark.parametrize("cell", CELLS)
def test_bare_layer_is_returned(cell: str) -> None:
    theirs = TORCH[cell](INPUT, HIDDEN, 2, bidirectional=True)
    expected = forward_backward(theirs, FORMS[1])
    ours = rd.regularize(theirs, NOISE, backend="eager")
    assert ours is theirs
    assert type(ours) is OURS[cell]
    assert (ours.noise, ours.backend) == (NOISE, "eager")
    assert "_flat_weights" not in vars(ours)
    back = rd.plain(ours)
    assert back is theirs
    assert type(back) is TORCH[cell]
    assert vars(back).keys() == vars(TORCH[cell](INPUT, HIDDEN, 2, bidirectional=True)).keys()
    assert_same(forward_backward(back, FORMS[1]), expected)


class OwnForward(nn.LSTM):
    def forward(self, input: Tensor, hx: Any = None) -> Any:
        y, state = super().forward(input, hx)
        return 2 * y, state


class OursWithOwnForward(rd.GRU):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        y, state = super().forward(*args, **kwargs)
        return 2 * y, state


def test_subclasses_with_their_own_forward_are_left_alone() -> None:
    theirs, ours = OwnForward(INPUT, HIDDEN), OursWithOwnForward(INPUT, HIDDEN)
    model = nn.ModuleList([theirs, ours])
    expected = theirs(X)[0]
    with pytest.warns(UserWarning, match="left alone: 0 is OwnForward, whose forward is its own; name the class in"):
        rd.regularize(model, NOISE)
    assert type(model[0]) is OwnForward
    assert torch.equal(model[0](X)[0], expected)
    assert model[1] is ours  # one of ours takes noise, and keeps its forward
    assert ours.noise is NOISE
    assert "no noise: 0 is OwnForward, whose forward is its own" in str(rd.describe(model))
    rd.plain(model)
    assert (type(model[0]), type(model[1])) == (OwnForward, OursWithOwnForward)
    assert rd.regularize(theirs, None) is theirs


class ZeroLengths(ABC, nn.RNNBase):
    """What forecasting packages derive from torch's layers: a base with the forward, and methods of each cell."""

    def forward(self, x: Tensor, hx: Any = None, lengths: Tensor | None = None) -> Any:
        y, state = super().forward(x, hx=hx)
        return (y if lengths is None else y * (lengths > 0)[None, :, None]), state

    @abstractmethod
    def width(self) -> int: ...


class ZeroLengthsGRU(ZeroLengths, nn.GRU):
    def width(self) -> int:
        return self.hidden_size


class WithMethod(nn.LSTM):
    """No forward of its own, but a method that its model calls."""

    def width(self) -> int:
        return self.hidden_size


@pytest.mark.parametrize("kind", [ZeroLengthsGRU, WithMethod, OwnForward])
def test_named_subclasses_get_noise_where_they_call_torch(kind: type[nn.RNNBase]) -> None:
    theirs = kind(INPUT, HIDDEN, 2)
    expected, state, names = theirs(X)[0], theirs.state_dict(), vars(theirs).keys()
    ours = rd.regularize(theirs, NOISE, subclasses=[ZeroLengths, OwnForward])
    assert ours is theirs
    assert isinstance(ours, kind)
    assert isinstance(ours, (rd.GRU, rd.LSTM))
    torch.manual_seed(1)
    found = ours(X)[0]
    plain = {nn.GRU: rd.GRU, nn.LSTM: rd.LSTM}[nn.GRU if isinstance(theirs, nn.GRU) else nn.LSTM](
        INPUT, HIDDEN, 2, noise=NOISE
    )
    plain.load_state_dict(state)
    torch.manual_seed(1)
    assert torch.equal(found, plain(X)[0] * (2 if kind is OwnForward else 1))
    torch.testing.assert_close(ours.eval()(X)[0], expected)
    if kind is not OwnForward:
        assert ours.width() == HIDDEN
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):  # noqa: S301
        assert type(copied) is type(ours)
        assert copied.noise == NOISE
        assert torch.equal(copied(X)[0], ours(X)[0])
    back = rd.plain(ours.train())
    assert type(back) is kind
    assert torch.equal(back(X)[0], expected)
    assert vars(back).keys() == names


def test_a_subclass_keeps_its_parametrization_and_its_own_arguments() -> None:
    theirs = ZeroLengthsGRU(INPUT, HIDDEN)
    parametrize.register_parametrization(theirs, "weight_hh_l0", _Triple())
    expected = theirs(X, lengths=torch.tensor([0] + [TIME] * (BATCH - 1)))[0]
    ours = rd.regularize(theirs, NOISE, subclasses=(ZeroLengths,)).eval()
    found = ours(X, lengths=torch.tensor([0] + [TIME] * (BATCH - 1)))[0]
    torch.testing.assert_close(found, expected)
    assert not found[:, 0].any()
    with pytest.raises(RuntimeError, match="parametrized"):
        pickle.dumps(ours)
    back = rd.plain(ours)
    parametrize.remove_parametrizations(back, "weight_hh_l0")
    assert type(back) is ZeroLengthsGRU


def test_noise_of_our_layers_is_replaced_in_place() -> None:
    layer = rd.GRU(INPUT, HIDDEN, noise=rd.Zoneout(h=0.5), backend="reference")
    model = nn.Sequential(layer)
    rd.regularize(model, [NOISE, rd.WeightDrop(0.5)])
    assert model[0] is layer
    assert (layer.noise, layer.backend) == ((NOISE, rd.WeightDrop(0.5)), "auto")
    rd.regularize(model, None)
    assert layer.noise is None


def test_any_iterable_of_methods_reaches_every_layer(model: Model) -> None:
    rd.regularize(model, (m for m in (NOISE, rd.WeightDrop(0.5))))
    assert [layer.noise for layer in model.layers()] == [(NOISE, rd.WeightDrop(0.5))] * 3


def test_methods_that_a_cell_lacks_are_left_out_with_one_warning(model: Model) -> None:
    with pytest.warns(UserWarning, match="left out: RNNDrop acts at the cell site") as caught:
        rd.regularize(model, [rd.RNNDrop(0.3), rd.WeightDrop(0.5), rd.RecurrentDropout(0.2)])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    lstm, gru, rnn = model.layers()
    assert [type(m) for m in lstm.noise] == [rd.RNNDrop, rd.WeightDrop, rd.RecurrentDropout]
    assert [type(m) for m in gru.noise] == [rd.WeightDrop, rd.RecurrentDropout]
    assert [type(m) for m in rnn.noise] == [rd.WeightDrop]
    text = str(rd.describe(model))
    assert "note: stack.1: RNNDrop acts at the cell site; got a cell of kind GRU, and it has no cell state" in text
    assert "note: parts.rnn.0: RecurrentDropout acts at the candidate site; got a cell of kind RNN" in text
    assert "stack.0: " not in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rd.regularize(model, NOISE)
    assert "acts at" not in str(rd.describe(model))


def test_reassigned_noise_forgets_what_was_left_out() -> None:
    with pytest.warns(UserWarning, match="left out"):
        layer = rd.regularize(nn.GRU(INPUT, HIDDEN), rd.RNNDrop(0.3))
    assert "RNNDrop" in str(rd.describe(layer))
    layer.noise = NOISE
    assert "RNNDrop" not in str(rd.describe(layer))


@pytest.mark.parametrize("refused", ["rates", "pair", "reference"])
def test_noise_that_one_layer_refuses_leaves_the_model_as_it_was(refused: str) -> None:
    first = rd.LSTM(INPUT, HIDDEN, 2, noise=NOISE)
    model = nn.Sequential(first, nn.LSTM(HIDDEN, HIDDEN, 3))
    bad = {
        "rates": rd.Variational([0.1, 0.2]),
        "pair": [rd.WeightDrop(), rd.WeightNoise()],
        "reference": rd.Mixout(0.5, reference=first.state_dict()),
    }[refused]
    with pytest.raises(ValueError, match=r"; got .*\. "):
        rd.regularize(model, bad)
    assert (model[0], first.noise) == (first, NOISE)
    assert type(model[1]) is nn.LSTM
    with pytest.raises(ValueError, match="backend must be"):
        rd.regularize(model, rd.WeightDrop(), backend="cudnn")
    assert (model[0], first.noise, first.backend) == (first, NOISE, "auto")


class _Triple(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 3 * weight


@pytest.mark.parametrize("cell", CELLS)
def test_parametrized_layers_keep_their_parametrization(cell: str) -> None:
    theirs = TORCH[cell](INPUT, HIDDEN, 2)
    tripled = copy.deepcopy(theirs)
    with torch.no_grad():
        tripled.weight_hh_l0.mul_(3)
    expected = forward_backward(tripled, FORMS[1])
    expected["d_weight_hh_l0"] *= 3
    parametrize.register_parametrization(theirs, "weight_hh_l0", _Triple())
    ours = rd.regularize(nn.Sequential(theirs), NOISE)[0].eval()
    assert isinstance(ours, OURS[cell])
    assert ours.parametrizations.weight_hh_l0.original is theirs.parametrizations.weight_hh_l0.original
    found = forward_backward(ours, FORMS[1])
    found["d_weight_hh_l0"] = found.pop("d_parametrizations.weight_hh_l0.original")
    assert_same(found, expected, 1e-6)
    back = rd.plain(ours)
    assert not isinstance(back, OURS[cell])
    assert isinstance(back, TORCH[cell])
    parametrize.remove_parametrizations(back, "weight_hh_l0")
    assert type(back) is TORCH[cell]


def test_state_dicts_load_across(model: Model) -> None:
    theirs = Model()
    rd.regularize(model, NOISE)
    theirs.load_state_dict(model.state_dict(), strict=True)
    other = rd.regularize(Model(), rd.WeightDrop(0.5))
    other.load_state_dict(theirs.state_dict(), strict=True)
    assert torch.equal(other.eval()(X), theirs.eval()(X))


def test_plain_leaves_other_modules_alone(model: Model) -> None:
    layers = model.layers()
    assert rd.plain(model) is model
    assert all(a is b for a, b in zip(model.layers(), layers, strict=True))
    linear = nn.Linear(2, 2)
    assert rd.plain(linear) is linear
    assert rd.regularize(linear, NOISE) is linear
