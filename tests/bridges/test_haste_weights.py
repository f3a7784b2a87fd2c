"""Haste's equations in plain float64 against a layer with the converted weights and, for its two noises, its masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import recurdrop as rd
from recurdrop.bridges import from_haste, to_haste

T, B, I, H = 7, 4, 3, 5
# Two orders of the same sums in float64; measured 3.1e-16.
ROUNDING = 1e-15


def _layer(gates: int, inputs: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"kernel": (inputs, gates * H), "recurrent_kernel": (H, gates * H), "bias": (gates * H,)}
    if gates == 3:
        shapes["recurrent_bias"] = (gates * H,)
    return {k: torch.randn(s, generator=generator, dtype=torch.float64) / 2 for k, s in shapes.items()}


def _run(w: dict[str, Tensor], x: Tensor, keep: Tensor | float = 0.0) -> Tensor:
    """Haste's layer: LSTM with gates i, g, f, o or GRU with z, r, n; `keep` is the weight of the old h (T, B, H)."""
    h = c = x.new_zeros(B, H)
    kept = torch.as_tensor(keep, dtype=x.dtype).expand(T, B, H)
    outputs = []
    for t in range(T):
        from_x, from_h = x[t] @ w["kernel"] + w["bias"], h @ w["recurrent_kernel"]
        if "recurrent_bias" in w:
            xz, xr, xn = from_x.chunk(3, -1)
            hz, hr, hn = (from_h + w["recurrent_bias"]).chunk(3, -1)
            z, r = torch.sigmoid(xz + hz), torch.sigmoid(xr + hr)
            new = z * h + (1 - z) * torch.tanh(xn + r * hn)
        else:
            i, g, f, o = (from_x + from_h).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            new = torch.sigmoid(o) * torch.tanh(c)
        h = kept[t] * h + (1 - kept[t]) * new
        outputs.append(h)
    return torch.stack(outputs)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(T, B, I, dtype=torch.float64)


@pytest.mark.parametrize("gates", [4, 3])
def test_a_stack_computes_hastes_equations(gates: int, x: Tensor) -> None:
    theirs = [_layer(gates, I, 1), _layer(gates, H, 2)]
    ours = {4: rd.LSTM, 3: rd.GRU}[gates](I, H, 2, dtype=torch.float64)
    ours.load_state_dict(from_haste(*theirs), strict=True)
    expected = _run(theirs[1], _run(theirs[0], x))
    torch.testing.assert_close(ours(x)[0].detach(), expected, rtol=0, atol=ROUNDING)
    back = to_haste(ours.state_dict())
    assert [{k: v.tolist() for k, v in layer.items()} for layer in back] == [
        {k: v.tolist() for k, v in layer.items()} for layer in theirs
    ]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gates", [4, 3])
def test_haste_computes_our_layer(gates: int, bias: bool, x: Tensor) -> None:
    ours = {4: rd.LSTM, 3: rd.GRU}[gates](I, H, bias=bias, dtype=torch.float64)
    (theirs,) = to_haste(ours.state_dict())
    torch.testing.assert_close(_run(theirs, x), ours(x)[0].detach(), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("gates", [4, 3])
def test_its_zoneout_and_dropout_are_ours(gates: int, x: Tensor) -> None:
    theirs = _layer(gates, I, 1)
    kind = {4: rd.LSTM, 3: rd.GRU}[gates]
    ours = kind(I, H, noise=rd.Haste(dropout=0.4, zoneout=0.3), dtype=torch.float64)
    ours.load_state_dict(from_haste(theirs), strict=True)
    (masks,) = ours.sample_masks(T, B)
    assert masks.weight_hh is not None
    assert masks.zone_h is not None
    assert masks.zone_c is None
    assert {round(v, 6) for v in masks.weight_hh.flatten().tolist()} == {0.0, round(1 / 0.6, 6)}
    order = {4: (0, 2, 1, 3), 3: (1, 0, 2)}[gates]
    blocks = masks.weight_hh.reshape(gates, H, H)
    dropped = theirs["recurrent_kernel"] * torch.cat([blocks[k].T for k in order], -1)
    expected = _run(theirs | {"recurrent_kernel": dropped}, x, masks.zone_h.double())
    torch.testing.assert_close(ours(x, masks=(masks,))[0].detach(), expected, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(ours.eval()(x)[0].detach(), _run(theirs, x, 0.3), rtol=0, atol=ROUNDING)
