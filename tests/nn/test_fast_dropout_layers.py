"""Fast dropout's layers: against every mask, against many masks, against torch, and in every layout."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from against_torch import BATCH, OURS, TIME, TORCH, UNSORTED, numbers
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import recurdrop as rd
from recurdrop.nn.fast_dropout import FastDropoutGRU, FastDropoutLSTM, FastDropoutRNN, Moments, cells

FAST = {"RNN": FastDropoutRNN, "GRU": FastDropoutGRU, "LSTM": FastDropoutLSTM}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
INPUT, HIDDEN = 5, 7


def fast(cell: str, *args: Any, like: Any = None, **kwargs: Any) -> Any:
    layer = FAST[cell](*args, dtype=torch.float64, **kwargs)
    if like is not None:
        layer.load_state_dict(like.state_dict(), strict=True)
    return layer


def parts(found: Any) -> list[Tensor]:
    """Every tensor of nested moments and states."""
    return [found] if isinstance(found, Tensor) else [t for part in found for t in parts(part)]


def assert_close(found: Any, expected: Any, atol: float = 0.0) -> None:
    pairs = list(zip(parts(found), parts(expected), strict=True))
    assert pairs
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("scaling", ["classic", "inverted"])
def test_exact_over_every_mask(scaling: str) -> None:
    """One unit whose ReLU is the identity: all that is approximate falls away, at every step."""
    time, width, p, r = 3, 2, 0.3, 0.4
    plain = rd.RNN(width, 1, nonlinearity="relu", dtype=torch.float64)
    with torch.no_grad():
        plain.bias_ih_l0.fill_(100)
        plain.weight_hh_l0.fill_(0.05)
    layer = fast("RNN", width, 1, nonlinearity="relu", input=p, recurrent=r, scaling=scaling, like=plain)
    keep = torch.tensor(list(itertools.product((0.0, 1.0), repeat=time * (width + 1))), dtype=torch.float64)
    rates = torch.tensor([p] * (time * width) + [r] * time, dtype=torch.float64)
    weight = torch.where(keep == 1, 1 - rates, rates).prod(1)[:, None]
    multiplier = keep / (1 - rates) if scaling == "inverted" else keep
    bits_x, bits_h = multiplier.split((time * width, time), 1)
    masks = rd.Masks(input=bits_x.view(-1, time, width).transpose(0, 1), recurrent=bits_h.T[..., None])
    x, h0 = numbers(time, 1, width), numbers(1, 1, 1)
    y, _ = plain(x.expand(-1, len(keep), -1), h0.expand(-1, len(keep), -1), masks=[masks])
    mean = (weight * y).sum(1, keepdim=True)
    spread = (weight * (y - mean).square()).sum(1, keepdim=True)
    output, state = layer(x, h0)
    # Measured: 6e-14 of means near 100, 1.4e-14 of variances near 15.
    assert_close(output.mean, mean, 2e-13)
    assert_close(output.variance, spread, 5e-14)
    assert_close(state, [part[-1:] for part in output])


@torch.no_grad()
def enumerate_cell(cell: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[Tensor], Tensor]:
    """Run one step of one unit without σ and tanh; return what it gives, gates and states of every case, and weights.

    The gates are the inputs; gates and states have laws of two points each.
    """
    for name in ("sigmoid", "tanh"):
        monkeypatch.setattr(cells, name, lambda x, variance: x)
    gates, count = GATES[cell], {"GRU": 1, "LSTM": 2}[cell]
    laws, p = numbers(2, gates + count), torch.linspace(0.2, 0.7, gates + count, dtype=torch.float64)
    mean = p * laws[0] + (1 - p) * laws[1]
    spread = p * (1 - p) * (laws[0] - laws[1]).square()
    layer = fast(cell, gates, 1, input=0, recurrent=0)
    for name, parameter in layer.named_parameters():
        parameter.copy_(torch.eye(gates) if name == "weight_ih_l0" else torch.zeros_like(parameter))
    layer.bias_hh_l0[-1] = 0.9 if cell == "GRU" else 0.0
    states = [Moments(mean[None, None, [gates + k]], spread[None, None, [gates + k]]) for k in range(count)]
    found = layer(Moments(mean[None, None, :gates], spread[None, None, :gates]), states if count > 1 else states[0])
    picks = torch.tensor(list(itertools.product((0, 1), repeat=gates + count)))
    weight = torch.where(picks == 0, p, 1 - p).prod(1)
    return found, list(torch.where(picks == 0, laws[0], laws[1]).T), weight


def moments_of(value: Tensor, weight: Tensor) -> list[float]:
    mean = (weight * value).sum()
    return [float(mean), float((weight * (value - mean).square()).sum())]


def test_lstm_step_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    (_, (h_n, c_n)), (i, f, g, o, _, c), weight = enumerate_cell("LSTM", monkeypatch)
    c = f * c + i * g
    assert [float(part) for part in c_n] == pytest.approx(moments_of(c, weight), rel=1e-14)
    assert [float(part) for part in h_n] == pytest.approx(moments_of(o * c, weight), rel=1e-14)


def test_gru_step_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    (_, h_n), (r, z, x_n, h), weight = enumerate_cell("GRU", monkeypatch)
    # n counts as independent of z and h, as it is here.
    h = (1 - z) * (x_n + r * 0.9) + z * h
    assert [float(part) for part in h_n] == pytest.approx(moments_of(h, weight), rel=1e-14)


def sampled(plain: Any, x: Tensor, p: float, r: float, samples: int) -> Moments:
    """Mean and variance of h over masks, fresh at each step, unscaled, and different for each gate."""
    time, gates = len(x), GATES[plain.cell]
    axes = (time, samples, gates) if gates > 1 else (time, samples)
    generator = torch.Generator().manual_seed(3)
    bits_x, bits_h = (
        (torch.rand(*axes, width, generator=generator) >= rate).double()
        for rate, width in ((p, x.shape[-1]), (r, plain.hidden_size))
    )
    y, _ = plain(x.expand(-1, samples, -1), masks=[rd.Masks(input=bits_x, recurrent=bits_h)])
    return Moments(y.mean(1), y.var(1))


# Root mean square errors over ten steps: of the mean, in the noise's own root mean square deviation; of the variance,
# in the variance's root mean square. Measured, times 1.3. Of the mean alone, without variances: 0.20 to 0.40.
MONTE_CARLO = {
    ("RNN", "consistent"): (0.0444, 0.140),
    ("GRU", "consistent"): (0.0291, 0.138),
    ("LSTM", "consistent"): (0.0421, 0.234),
    ("RNN", "paper"): (0.0970, 0.478),
    ("GRU", "paper"): (0.0487, 1.152),
    ("LSTM", "paper"): (0.1255, 2.473),
}


@pytest.mark.parametrize(("cell", "variance"), MONTE_CARLO)
def test_against_many_masks(cell: str, variance: str) -> None:
    plain = OURS[cell](20, 40, dtype=torch.float64)
    with torch.no_grad():
        for weight in plain.parameters():
            weight *= 3
    x = numbers(10, 1, 20)
    layer = fast(cell, 20, 40, input=0.1, recurrent=0.2, variance=variance, like=plain)
    with torch.no_grad():
        expected = sampled(plain, x, 0.1, 0.2, 2000)
        output, _ = layer(x)
        alone, _ = layer.to_torch()(x)

    def error(found: Tensor, true: Tensor) -> float:
        return float((found - true).square().mean().sqrt())

    of_mean = error(output.mean[:, 0], expected.mean) / math.sqrt(float(expected.variance.mean()))
    of_variance = error(output.variance[:, 0], expected.variance) / float(expected.variance.square().mean().sqrt())
    limits = MONTE_CARLO[cell, variance]
    assert of_mean < 1.3 * limits[0]
    assert of_variance < 1.3 * limits[1]
    # The mean without variances is further off.
    assert error(alone[:, 0], expected.mean) > 1.5 * error(output.mean[:, 0], expected.mean)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", FAST)
def test_without_dropout_it_is_torch(cell: str, bidirectional: bool) -> None:
    kwargs: dict[str, Any] = {"num_layers": 2, "bidirectional": bidirectional}
    theirs = TORCH[cell](INPUT, HIDDEN, **kwargs, dtype=torch.float64)
    ours = fast(cell, INPUT, HIDDEN, input=0, recurrent=0, variance="consistent", like=theirs, **kwargs)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x, hx = numbers(TIME, BATCH, INPUT), numbers(4 if bidirectional else 2, BATCH, HIDDEN)
    hx = (hx, hx.flip(0)) if cell == "LSTM" else hx
    y, state = ours(x, hx)
    expected, last = theirs(x, hx)
    # Measured: 2.2e-16.
    assert_close(y.mean, expected, 1e-15)
    states = state if cell == "LSTM" else (state,)
    assert_close([s.mean for s in states], last, 1e-15)
    assert all(not s.variance.any() for s in (y, *states))


def test_paper_variance_spares_the_first_mean() -> None:
    """Without dropout, h_1 is torch's; its variance should be 0, but is not, so that h_2 differs."""
    theirs = TORCH["RNN"](INPUT, HIDDEN, dtype=torch.float64)
    x = numbers(2, BATCH, INPUT)
    y, _ = fast("RNN", INPUT, HIDDEN, input=0, recurrent=0, like=theirs)(x)
    expected, _ = theirs(x)
    assert_close(y.mean[0], expected[0], 1e-15)
    assert float((y.mean[1] - expected[1]).detach().abs().max()) > 1e-4


@pytest.mark.parametrize("cell", FAST)
def test_layouts(cell: str) -> None:
    """Packed, with lengths, batch-first and unbatched are each example by itself, mean and variance."""
    kwargs: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
    layer = fast(cell, INPUT, HIDDEN, **kwargs)
    mean = numbers(TIME, BATCH, INPUT)
    x = Moments(mean, numbers(TIME, BATCH, INPUT, seed=5).square())
    lengths = torch.tensor(UNSORTED)
    packed = Moments(*(pack_padded_sequence(part, lengths, enforce_sorted=False) for part in x))
    y, state = layer(x, lengths=lengths)
    from_packed, packed_state = layer(packed)
    assert_close([pad_packed_sequence(part)[0] for part in from_packed], y)
    assert_close(packed_state, state)
    first = fast(cell, INPUT, HIDDEN, batch_first=True, **kwargs, like=layer)
    found, last = first(Moments(*(part.transpose(0, 1) for part in x)), lengths=lengths)
    assert_close([part.transpose(0, 1) for part in found], y)
    assert_close(last, state)
    for b, n in enumerate(UNSORTED):
        alone, end = layer(Moments(*(part[:n, b] for part in x)))
        # One row alone is multiplied by another kernel. Measured: 6.7e-16.
        assert_close(alone, [part[:n, b] for part in y], 2e-15)
        assert_close(parts(end), [part[:, b] for part in parts(state)], 2e-15)
        assert not any(part[n:, b].any() for part in y)


@pytest.mark.parametrize("cell", FAST)
def test_empty_example_hands_its_state_through(cell: str) -> None:
    layer = fast(cell, INPUT, HIDDEN)
    x = numbers(TIME, BATCH, INPUT)
    x[:, 1] = math.nan
    states = [
        Moments(numbers(1, BATCH, HIDDEN, seed=k), numbers(1, BATCH, HIDDEN, seed=9 + k).square()) for k in (1, 2)
    ]
    hx = states if cell == "LSTM" else states[0]
    y, state = layer(x, hx, lengths=[TIME, 0, 2])
    assert_close([part[:, 1] for part in parts(state)], [part[:, 1] for part in parts(hx)])
    assert all(torch.isfinite(part).all() for part in parts((y, state)))


@pytest.mark.parametrize("cell", FAST)
def test_empty_batch(cell: str) -> None:
    y, state = fast(cell, INPUT, HIDDEN)(torch.zeros(TIME, 0, INPUT, dtype=torch.float64))
    assert {part.shape for part in y} == {(TIME, 0, HIDDEN)}
    assert {part.shape for part in parts(state)} == {(1, 0, HIDDEN)}


@pytest.mark.parametrize("cell", FAST)
def test_windows(cell: str) -> None:
    """The state carries the variance on; as plain tuples too."""
    layer = fast(cell, INPUT, HIDDEN, num_layers=2)
    x = numbers(TIME, BATCH, INPUT)
    whole, last = layer(x)
    head, state = layer(x[:2])
    plain = tuple(tuple(part) for part in state) if cell == "LSTM" else tuple(state)
    tail, end = layer(x[2:], plain)
    # Products of fewer rows are made by another kernel. Measured: 4.4e-16.
    assert_close([torch.cat(both) for both in zip(head, tail, strict=True)], whole, 1e-15)
    assert_close(end, last, 1e-15)


@pytest.mark.parametrize("cell", FAST)
def test_stack_is_its_layers(cell: str) -> None:
    """Rates go to their layers, moments from one to the next, and the second direction runs backward."""
    rates = {"input": [0.1, 0.4], "recurrent": (0.2, 0.3)}
    stack = fast(cell, INPUT, HIDDEN, num_layers=2, bidirectional=True, **rates)
    x: Any = numbers(TIME, BATCH, INPUT)
    expected, _ = stack(x)
    for index in range(2):
        outputs = []
        for suffix in ("", "_reverse"):
            one = fast(cell, INPUT if index == 0 else 2 * HIDDEN, HIDDEN, **{k: v[index] for k, v in rates.items()})
            one.load_state_dict({n: getattr(stack, f"{n[:-1]}{index}{suffix}").detach() for n in one.state_dict()})
            turned = Moments(*(part.flip(0) for part in parts(x))) if suffix and index else x.flip(0) if suffix else x
            y, _ = one(turned)
            outputs.append(Moments(*(part.flip(0) for part in y)) if suffix else y)
        x = Moments(*(torch.cat(both, -1) for both in zip(*outputs, strict=True)))
    # Measured: 1.2e-16.
    assert_close(x, expected, 1e-15)


@pytest.mark.parametrize("scaling", ["classic", "inverted"])
@pytest.mark.parametrize("cell", FAST)
def test_to_torch_has_the_mean_mask(cell: str, scaling: str) -> None:
    """It is the plain layer with every bit, or every bit over 1 - p, at its mean."""
    rates = {"input": (0.1, 0.4), "recurrent": (0.2, 0.3)}
    layer = fast(cell, INPUT, HIDDEN, num_layers=2, **rates, scaling=scaling)
    plain = OURS[cell](INPUT, HIDDEN, num_layers=2, dtype=torch.float64)
    plain.load_state_dict(layer.state_dict())
    masks = []
    for index, widths in enumerate(((INPUT, HIDDEN), (HIDDEN, HIDDEN))):
        means = [1 - of_layers[index] if scaling == "classic" else 1.0 for of_layers in rates.values()]
        m_x, m_h = (torch.full((1, 1, w), mean, dtype=torch.float64) for w, mean in zip(widths, means, strict=True))
        masks.append(rd.Masks(input=m_x, recurrent=m_h))
    x = numbers(TIME, BATCH, INPUT)
    made = layer.to_torch()
    assert type(made) is TORCH[cell]
    # Measured: 2.6e-16.
    assert_close(made(x)[0], plain(x, masks=masks)[0], 1e-15)


def test_it_draws_nothing_and_has_no_modes() -> None:
    layer = fast("GRU", INPUT, HIDDEN)
    x = numbers(TIME, BATCH, INPUT)
    before = torch.get_rng_state()
    y = layer(x)
    assert torch.equal(torch.get_rng_state(), before)
    assert_close(layer.eval()(x), y)


def test_autocast_keeps_precision() -> None:
    layer = FastDropoutLSTM(INPUT, HIDDEN)
    x, h, c = numbers(TIME, BATCH, INPUT).bfloat16(), *numbers(2, 1, BATCH, HIDDEN).bfloat16()
    expected = layer(x.float(), (h.float(), c.float()))
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x, (h, c))
    assert found[0].mean.dtype == torch.float32
    assert_close(found, expected)


@pytest.mark.parametrize("variance", ["paper", "consistent"])
@pytest.mark.parametrize("cell", FAST)
def test_gradients(cell: str, variance: str) -> None:
    layer = fast(cell, 2, 3, variance=variance)
    leaves = [numbers(2, 1, 2), numbers(2, 1, 2, seed=1).square(), numbers(1, 1, 3, seed=2), numbers(1, 1, 3, seed=3)]
    leaves[3] = leaves[3].square()
    leaves += [p.detach() for p in layer.parameters()]
    names = [name for name, _ in layer.named_parameters()]

    def run(mean: Tensor, spread: Tensor, h: Tensor, h_spread: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        hx: Any = Moments(h, h_spread)
        call = (Moments(mean, spread), (hx, hx) if cell == "LSTM" else hx)
        return tuple(parts(torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), call)))

    assert torch.autograd.gradcheck(run, tuple(leaf.requires_grad_() for leaf in leaves))


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("size", [0.0, 1e4, 1e12])
@pytest.mark.parametrize(
    ("cell", "kwargs"), [("RNN", {"nonlinearity": "relu"}), ("RNN", {}), ("GRU", {}), ("LSTM", {})]
)
def test_gradients_are_finite(cell: str, kwargs: dict[str, str], size: float, rate: float) -> None:
    """Where every variance is 0, and where arguments are huge; in single precision."""
    layer = FAST[cell](INPUT, HIDDEN, input=rate, recurrent=rate, **kwargs)
    with torch.no_grad():
        layer.weight_hh_l0 *= 0.5
    x = (size * numbers(TIME, BATCH, INPUT)).float().requires_grad_()
    found = parts(layer(x))
    leaves = [x, *layer.parameters()]
    for value in (*found, *torch.autograd.grad(sum(part.sum() for part in found), leaves)):
        assert torch.isfinite(value).all()


def test_all_dropped() -> None:
    """p = 1: the biases alone, and no variance."""
    for scaling in ("classic", "inverted"):
        layer = fast("GRU", INPUT, HIDDEN, input=1, recurrent=1, scaling=scaling, variance="consistent")
        y, _ = layer(numbers(TIME, BATCH, INPUT))
        expected, _ = layer(torch.zeros(TIME, BATCH, INPUT, dtype=torch.float64))
        assert_close(y, expected)
        assert not y.variance.any()


def test_rates_may_be_reassigned() -> None:
    layer = fast("RNN", INPUT, HIDDEN, input=0.5)
    layer.input, layer.recurrent = 0.1, [0.4]
    other = fast("RNN", INPUT, HIDDEN, input=0.1, recurrent=0.4, like=layer)
    x = numbers(TIME, BATCH, INPUT)
    assert_close(layer(x), other(x))
    assert repr(layer) == "FastDropoutRNN(5, 7, input=0.1, recurrent=(0.4,))"
    with pytest.raises(ValueError, match=r"input of FastDropoutRNN must be a number in \[0, 1\]; got -1"):
        layer.input = -1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FastDropoutLSTM(2, 3, dropout=0.1, num_layers=2), "nor proj_size=; got .*'dropout': 0.1"),
        (lambda: FastDropoutLSTM(3, 3, proj_size=2), "neither dropout= nor proj_size="),
        (lambda: FastDropoutGRU(2, 3, recurrent=[0.1, 0.2]), "recurrent of FastDropoutGRU governs 1 place"),
        (lambda: FastDropoutGRU(2, 3, variance="exact"), "variance must be 'paper' or 'consistent'"),
        (lambda: FastDropoutGRU(2, 3, scaling="none"), "scaling must be 'classic' or 'inverted'"),
        (lambda: FastDropoutRNN(2, 3)(torch.zeros(4, 1, 3)), r"the input must be \(T, B, 2\).*got \(4, 1, 3\)"),
        (lambda: FastDropoutRNN(2, 3)(torch.zeros(0, 1, 2)), "at least one step"),
        (lambda: FastDropoutRNN(2, 3)((torch.zeros(4, 1, 2), torch.zeros(4, 1, 1))), "mean and variance must have one"),
        (lambda: FastDropoutRNN(2, 3)([torch.zeros(4, 1, 2)] * 3), "moments are a tensor or a pair"),
        (lambda: FastDropoutRNN(2, 3)(torch.zeros(4, 1, 2), torch.zeros(1, 2, 3)), r"h_0 must have shape \(1, 1, 3\)"),
        (
            lambda: FastDropoutLSTM(2, 3)(torch.zeros(4, 1, 2), Moments(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3))),
            r"hx of an LSTM must be a pair \(h_0, c_0\); got 'Moments'",
        ),
        (lambda: FastDropoutLSTM(2, 3)(torch.zeros(4, 1, 2), torch.zeros(1, 1, 3)), "hx of an LSTM must be a pair"),
    ],
)  # fmt: skip
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
