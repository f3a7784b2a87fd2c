"""Zoneout."""

from __future__ import annotations

import math

import pytest
import torch
from by_hand import at, close, gru_gates, layer, lstm_gates, lstm_steps, one_state_steps, rnn_units, run

import recurdrop as rd
from recurdrop.testing import MethodConformance


class TestZoneout(MethodConformance):
    method = rd.Zoneout(c=0.4, h=0.3)
    cells = ("LSTM",)
    shapes = {"zone_h": "T B H", "zone_c": "T B H"}
    evaluation = {"zone_h": 0.3, "zone_c": 0.4}


class TestSharedMask(MethodConformance):
    method = rd.Zoneout(h=0.3, shared_mask=True)
    shapes = {"zone_h": "T B H", "zone_c": "T B H"}
    evaluation = {"zone_h": 0.3, "zone_c": 0.3}


class TestStochasticDepth(MethodConformance):
    method = rd.Zoneout(h=0.3, stochastic_depth=True)
    shapes = {"zone_h": "T B 1", "zone_c": "T B 1"}
    evaluation = {"zone_h": 0.3, "zone_c": 0.3}


def test_h_is_built_from_the_unzoned_cell() -> None:
    made = layer(rd.LSTM, rd.Zoneout(c=0.5, h=0.5))
    masks = made.sample_masks(2, 1, generator=torch.Generator().manual_seed(1))

    def step(t, x, h, c):
        zone_h, zone_c = at(masks[0].zone_h, t), at(masks[0].zone_c, t)
        new_h, new_c = [], []
        for u, (i, f, g, o) in enumerate(lstm_gates(made, x, h)):
            candidate = f * c[u] + i * g
            new_h.append(h[u] if zone_h[u] else o * math.tanh(candidate))
            new_c.append(c[u] if zone_c[u] else candidate)
        return new_h, new_c

    hs, c_n = lstm_steps(made, step)
    zones = torch.cat((masks[0].zone_h, masks[0].zone_c))
    assert zones.any() and not zones.all()
    output, (h_n, c_found) = run(made, masks)
    close(output, hs)
    close(h_n, hs[-1])
    close(c_found, c_n)


@pytest.mark.parametrize("kind", [rd.GRU, rd.RNN])
def test_one_state(kind) -> None:
    made = layer(kind, rd.Zoneout(h=0.5))
    masks = made.sample_masks(2, 1, generator=torch.Generator().manual_seed(0))
    assert masks[0].zone_h.any() and not masks[0].zone_h.all()

    def step(t, x, h):
        zone = at(masks[0].zone_h, t)
        if kind is rd.RNN:
            new = rnn_units(made, x, h)
        else:
            new = [z * old + (1 - z) * n for (_, z, n), old in zip(gru_gates(made, x, h), h, strict=True)]
        return [old if keep else value for keep, old, value in zip(zone, h, new, strict=True)]

    output, (h_n,) = run(made, masks)
    hs = one_state_steps(made, step)
    close(output, hs)
    close(h_n, hs[-1])


def test_evaluation_blends_at_every_step() -> None:
    made = layer(rd.LSTM, rd.Zoneout(c=0.25, h=0.1)).eval()

    def step(t, x, h, c):
        del t
        new_h, new_c = [], []
        for u, (i, f, g, o) in enumerate(lstm_gates(made, x, h)):
            candidate = f * c[u] + i * g
            new_h.append(0.1 * h[u] + 0.9 * o * math.tanh(candidate))
            new_c.append(0.25 * c[u] + 0.75 * candidate)
        return new_h, new_c

    hs, c_n = lstm_steps(made, step)
    output, (_, c_found) = run(made, None)
    close(output, hs)
    close(c_found, c_n)


def test_rate_one_never_moves() -> None:
    made = layer(rd.LSTM, rd.Zoneout(c=1, h=1))
    h, c = torch.randn(1, 4, 3, dtype=torch.float64), torch.randn(1, 4, 3, dtype=torch.float64)
    y, (h_n, c_n) = made(torch.randn(9, 4, 2, dtype=torch.float64), (h, c))
    assert torch.equal(h_n, h) and torch.equal(c_n, c) and torch.equal(y, h.expand(9, -1, -1))


def test_zoned_gradient_passes_unchanged() -> None:
    made = layer(rd.GRU, rd.Zoneout(h=1))
    h = torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 2, 3, dtype=torch.float64)
    _, h_n = made(torch.randn(4, 2, 2, dtype=torch.float64), h)
    (gradient,) = torch.autograd.grad((h_n * weight).sum(), h)
    assert torch.equal(gradient, weight)


def test_shared_mask_is_one_mask() -> None:
    made = rd.LSTM(3, 50, noise=rd.Zoneout(h=0.15, shared_mask=True))
    masks = made.sample_masks(20, 10)[0]
    assert torch.equal(masks.zone_c, masks.zone_h)
    free = rd.LSTM(3, 50, noise=rd.Zoneout(c=0.15, h=0.15)).sample_masks(20, 10)[0]
    both = (free.zone_c & free.zone_h).double().mean()
    assert abs(both - 0.15**2) < 5 * math.sqrt(0.15**2 / 10_000)


def test_shared_mask_needs_one_rate_and_one_width() -> None:
    with pytest.raises(ValueError, match="needs c = h"):
        rd.LSTM(3, 4, noise=rd.Zoneout(c=0.5, h=0.1, shared_mask=True))
    with pytest.raises(ValueError, match="one width"):
        rd.LSTM(3, 4, proj_size=2, noise=rd.Zoneout(h=0.1, shared_mask=True))


def test_c_is_refused_where_there_is_no_cell_state() -> None:
    with pytest.raises(rd.UndefinedSiteError, match="zone_c"):
        rd.GRU(3, 4, noise=rd.Zoneout(c=0.5, h=0.1))
    rd.GRU(3, 4, noise=rd.Zoneout(h=0.1))
