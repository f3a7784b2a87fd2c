"""The penalties: published formulas in plain numbers, identities, padding, and gradients by finite differences."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

import recurdrop as rd

T, B, V = 5, 3, 4
LENGTHS = (5, 2, 1)
MASK = torch.arange(T)[:, None] < torch.tensor(LENGTHS)
# float64: measured 6e-16 of the value.
ROUNDING = {"rtol": 2e-15, "atol": 0.0}

OF_ONE = {
    "ar": lambda h, **k: rd.activation_regularization(h, 2.0, **k),
    "tar": lambda h, **k: rd.temporal_activation_regularization(h, 1.5, **k),
    "norm": lambda h, **k: rd.norm_stabilizer(h, 50.0, **k),
}
OF_TWO = {
    "fraternal": rd.fraternal,
    "expectation_linear": rd.expectation_linear,
    "pi_model": rd.pi_model,
    "pi_model_probabilities": lambda a, b, **k: rd.pi_model(a, b, of="probabilities", **k),
    "r_drop": lambda a, b, **k: rd.r_drop(a, b, 3.0, **k),
}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


H, P, Q = numbers(T, B, V), numbers(T, B, V, seed=1), numbers(T, B, V, seed=2)


def close(found: Tensor, expected: float) -> None:
    assert found.shape == ()
    torch.testing.assert_close(found.item(), expected, **ROUNDING)


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(x) for x in logits]
    return [x / sum(powers) for x in powers]


def by_hand(name: str, real: Any) -> float:
    """The published formula over tokens (t, b) that `real` admits, in Python's own numbers."""
    h, p, q = H.tolist(), P.tolist(), Q.tolist()
    tokens = [(t, b) for t, b in itertools.product(range(T), range(B)) if real(t, b)]
    pairs = [(t, b) for t, b in tokens if real(t + 1, b) and t + 1 < T]
    if name == "ar":
        return 2.0 * sum(x**2 for t, b in tokens for x in h[t][b]) / (len(tokens) * V)
    if name == "tar":
        squares = [(h[t + 1][b][u] - h[t][b][u]) ** 2 for t, b in pairs for u in range(V)]
        return 1.5 * sum(squares) / len(squares)
    if name == "norm":
        squares = [(math.dist(h[t + 1][b], [0] * V) - math.dist(h[t][b], [0] * V)) ** 2 for t, b in pairs]
        return 50.0 * sum(squares) / len(squares)
    if name == "r_drop":
        total = 0.0
        for t, b in tokens:
            first, second = softmax(p[t][b]), softmax(q[t][b])
            there = sum(x * math.log(x / y) for x, y in zip(first, second, strict=True))
            back = sum(y * math.log(y / x) for x, y in zip(first, second, strict=True))
            total += (there + back) / 2
        return 3.0 * total / len(tokens)
    kappa = 0.25 if name == "expectation_linear" else 0.15
    same = softmax if name.endswith("probabilities") else list
    squares = [(x - y) ** 2 for t, b in tokens for x, y in zip(same(p[t][b]), same(q[t][b]), strict=True)]
    return kappa * sum(squares) / len(squares)


def call(name: str, **options: Any) -> Tensor:
    return OF_ONE[name](H, **options) if name in OF_ONE else OF_TWO[name](P, Q, **options)


@pytest.mark.parametrize("name", [*OF_ONE, *OF_TWO])
def test_published_formula(name: str) -> None:
    close(call(name), by_hand(name, lambda t, b: True))
    close(call(name, mask=MASK), by_hand(name, lambda t, b: t < LENGTHS[b]))


@pytest.mark.parametrize("name", OF_ONE)
def test_layouts(name: str) -> None:
    loss = OF_ONE[name]
    expected, padded = loss(H).item(), loss(H, mask=MASK).item()
    if name != "ar":
        close(loss(H.transpose(0, 1), batch_first=True), expected)
        close(loss(H.transpose(0, 1), batch_first=True, mask=MASK.T), padded)
        assert abs(loss(H.transpose(0, 1)).item() - expected) > 0.01
        close(loss(H[:, 0], batch_first=True), loss(H[:, :1]).item())
    close(loss(H[:, 0]), loss(H[:, :1]).item())
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        lengths = torch.tensor(LENGTHS)[order]
        close(loss(pack_padded_sequence(H[:, order], lengths, enforce_sorted=False)), padded)


@pytest.mark.parametrize("name", [*OF_ONE, *OF_TWO])
def test_what_lies_at_padding_reaches_nothing(name: str) -> None:
    poison = torch.where(MASK[..., None], 0.0, torch.nan)
    given = [(x + poison).requires_grad_() for x in ([H] if name in OF_ONE else [P, Q])]
    clean = [x.clone().requires_grad_() for x in ([H] if name in OF_ONE else [P, Q])]
    loss = (OF_ONE | OF_TWO)[name]
    found, expected = loss(*given, mask=MASK), loss(*clean, mask=MASK)
    assert torch.equal(found, expected)
    for mine, theirs in zip(torch.autograd.grad(found, given), torch.autograd.grad(expected, clean), strict=True):
        assert torch.equal(mine, theirs)
        assert not mine[~MASK].any()
        assert mine[MASK].any()


@pytest.mark.parametrize("name", [*OF_ONE, *OF_TWO])
@pytest.mark.parametrize("mask", [None, MASK])
def test_gradient_by_finite_differences(name: str, mask: Tensor | None) -> None:
    loss = (OF_ONE | OF_TWO)[name]
    leaves = [x.clone().requires_grad_() for x in ([H] if name in OF_ONE else [P, Q])]
    assert torch.autograd.gradcheck(lambda *x: loss(*x, mask=mask), leaves)
    assert torch.autograd.gradgradcheck(lambda *x: loss(*x, mask=mask), leaves)


@pytest.mark.parametrize("name", ["ar", "tar", "norm"])
def test_gradient_of_packed_sequences(name: str) -> None:
    packed = pack_padded_sequence(H, torch.tensor(LENGTHS))
    data = packed.data.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: OF_ONE[name](packed._replace(data=x)), [data])


@pytest.mark.parametrize("name", ["tar", "norm"])
def test_windows_of_one_step_have_no_difference(name: str) -> None:
    loss = OF_ONE[name]
    leaf = H[:1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    assert loss(leaf).item() == 0.0 and not gradient.any()
    assert loss(pack_padded_sequence(H[:1], torch.tensor([1, 1, 1]))).item() == 0.0
    assert loss(H, mask=torch.arange(T)[:, None].expand(T, B) < 1).item() == 0.0


@pytest.mark.parametrize("name", [*OF_ONE, *OF_TWO])
def test_no_token_no_penalty(name: str) -> None:
    assert call(name, mask=torch.zeros(T, B, dtype=torch.bool)).item() == 0.0


def test_norm_stabilizer_at_zero_states() -> None:
    """Both norms and their gradients at h = 0 are 0, where the square root has none."""
    h = H.clone()
    h[2:4] = 0
    h.requires_grad_()
    (gradient,) = torch.autograd.grad(rd.norm_stabilizer(h), h)
    assert torch.isfinite(gradient).all()
    assert not gradient[2:4].any() and gradient[1].any()


def test_ar_sees_the_dropped_output_and_tar_the_raw() -> None:
    layer = rd.LSTM(3, 4, noise=rd.Locked(output=0.5), dtype=torch.float64)
    masks = layer.sample_masks(T, B)
    y, _, details = layer(numbers(T, B, 3), masks=masks, details=True)
    m = masks[0].output
    assert not torch.equal(y, details.raw)
    close(rd.activation_regularization(y, 2.0), 2 * (m * details.raw).square().mean().item())
    jumps = details.raw[1:] - details.raw[:-1]
    close(rd.temporal_activation_regularization(details.raw), jumps.square().mean().item())


def test_r_drop_ignores_a_constant_and_fraternal_does_not() -> None:
    shift = numbers(T, B, 1, seed=3) * 10
    close(rd.r_drop(P + shift, Q - shift, 1.0), rd.r_drop(P, Q, 1.0).item())
    assert rd.fraternal(P + shift, Q - shift).item() > 2 * rd.fraternal(P, Q).item()
    close(rd.pi_model(P + shift, Q, of="probabilities"), rd.pi_model(P, Q, of="probabilities").item())


@pytest.mark.parametrize("name", OF_TWO)
def test_equal_passes_cost_nothing_and_order_does_not_matter(name: str) -> None:
    loss = OF_TWO[name]
    assert loss(P, P).item() == 0.0
    assert loss(P, Q).item() == pytest.approx(loss(Q, P).item(), rel=1e-14)
    assert loss(P, Q).item() > 0


def test_r_drop_stays_finite() -> None:
    far = torch.tensor([[1000.0, 0.0, -1000.0]]).requires_grad_()
    loss = rd.r_drop(far, -far.detach(), 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(2000)
    assert torch.isfinite(far.grad).all()


def test_fraternal_is_twice_the_variance_and_at_most_four_expectation_linear() -> None:
    """Over all masks of two units, each kept with probability 1/2, with logits that are not linear in the mask."""
    weight = numbers(V, 2, seed=4)

    def logits(mask: tuple[float, ...]) -> Tensor:
        return torch.tanh(weight @ (torch.tensor(mask, dtype=torch.float64) * numbers(2, seed=5)))[None]

    masks = list(itertools.product((0.0, 2.0), repeat=2))
    every = torch.cat([logits(m) for m in masks])
    pairs = [rd.fraternal(logits(a), logits(b), 1.0).item() for a in masks for b in masks]
    close(torch.tensor(sum(pairs) / 16, dtype=torch.float64), 2 * every.var(0, correction=0).mean().item())
    linear = [rd.expectation_linear(logits(m), logits((1.0, 1.0)), 1.0).item() for m in masks]
    assert sum(pairs) / 16 < 4 * sum(linear) / 4


def test_half_precision_is_computed_in_float32() -> None:
    big = torch.full((2, 2, 3), 1000.0, dtype=torch.float16)
    assert rd.activation_regularization(big, 1.0).item() == 1e6
    assert rd.fraternal(big, -big, 1.0).item() == 4e6
    assert rd.norm_stabilizer(big.to(torch.bfloat16)).item() == 0.0


def test_compiled() -> None:
    torch._dynamo.reset()

    def total(h: Tensor, p: Tensor, q: Tensor) -> Tensor:
        return torch.stack([f(h, mask=MASK) for f in OF_ONE.values()] + [f(p, q) for f in OF_TWO.values()])

    found = torch.compile(total, fullgraph=True, backend="aot_eager")(H, P, Q)
    torch._dynamo.reset()
    torch.testing.assert_close(found, total(H, P, Q), **ROUNDING)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rd.activation_regularization(H, -1.0), "alpha must be a number of 0 or more; got -1.0. Give 0"),
        (lambda: rd.fraternal(P, Q, math.nan), "kappa must be a number of 0 or more; got nan"),
        (lambda: rd.fraternal(P, Q[:1]), r"one shape; got \(\(5, 3, 4\), \(1, 3, 4\)\)"),
        (lambda: rd.r_drop(P, Q[..., :1], 1.0), "both passes must give logits of one shape"),
        (lambda: rd.pi_model(P, Q[:, :1], of="probabilities"), "both passes must give logits of one shape"),
        (lambda: rd.pi_model(P, Q, of="log"), "must be 'logits' or 'probabilities'; got 'log'"),
        (lambda: rd.fraternal(P, Q, mask=MASK.double()), r"bool of shape \(5, 3\).*; got 'torch.float64 of shape"),
        (lambda: rd.fraternal(P, Q, mask=MASK.T), r"bool of shape \(5, 3\).*; got 'torch.bool of shape \(3, 5\)'"),
        (
            lambda: rd.norm_stabilizer(pack_padded_sequence(H, torch.tensor(LENGTHS)), mask=MASK),
            "goes with padded tensors",
        ),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
