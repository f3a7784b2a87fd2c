"""`sample_masks` and `masks=`: the noise of a forward as values, row by row and step by step those of each example."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from against_torch import BATCH, HIDDEN, INPUT, OURS, PROJECTED, ROUNDING, TIME, UNSORTED, assert_same, numbers
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import recurdrop as rd
from recurdrop.methods import get, names
from recurdrop.sites import SITES

CELLS = tuple(OURS)
OF_CELL = [
    pytest.param(cell, get(name).published(), id=f"{cell}-{name}")
    for cell in CELLS
    for name in names()
    if cell in get(name).cells()
]
# Noise at every site that a cell has, shared over what it can be shared over.
EVERYWHERE: dict[str, list[rd.Method]] = {
    "LSTM": [
        rd.Zoneout(0.4, 0.3),
        rd.Variational(0.3, 0.3, 0.3, tied=False),
        rd.Zaremba(0.3),
        rd.RecurrentDropout(0.3),
        rd.RNNDrop(0.3),
        rd.StateReset(0.4),
        rd.HDetach(0.4),
        rd.DropConnect(0.3, ih=True),
    ],
    "GRU": [
        rd.Zoneout(h=0.3),
        rd.Variational(0.3, 0.3, 0.3),
        rd.Zaremba(0.3),
        rd.RecurrentDropout(0.3, per="sequence"),
        rd.StateReset(0.4),
        rd.DropConnect(0.3, ih=True, per_example=True),
    ],
    "RNN": [
        rd.Zoneout(h=0.3),
        rd.Dropout(0.3, site="recurrent"),
        rd.Zaremba(0.3),
        rd.StateReset(0.4),
        rd.WeightNoise(0.1),
    ],
}
X = numbers(TIME, BATCH, INPUT)


def _layer(cell: str, noise: Any, **extra: Any) -> Any:
    return OURS[cell](INPUT, HIDDEN, 2, bidirectional=True, noise=noise, dtype=torch.float64, **extra)


def _state(layer: Any, batch: int = BATCH) -> Any:
    h = numbers(4, batch, layer.proj_size or HIDDEN, seed=2)
    return (h, numbers(4, batch, HIDDEN, seed=3)) if layer.cell == "LSTM" else h


def _named(y: Any, state: Any) -> dict[str, Tensor]:
    if isinstance(y, PackedSequence):
        y, _ = pad_packed_sequence(y)
    return {"y": y} | dict(zip(("h_n", "c_n"), state if isinstance(state, tuple) else (state,), strict=False))


@pytest.mark.parametrize(("cell", "noise"), OF_CELL)
def test_replay_is_the_training_forward(cell: str, noise: rd.Method) -> None:
    layer = _layer(cell, noise)
    hx = _state(layer)
    torch.manual_seed(1)
    expected = _named(*layer(X, hx))
    torch.manual_seed(1)
    masks = layer.sample_masks(TIME, BATCH)
    assert len(masks) == 4
    state = torch.get_rng_state()
    assert_same(_named(*layer(X, hx, masks=masks)), expected)
    assert_same(_named(*layer.eval()(X, hx, masks=masks)), expected)
    layer.noise = None
    assert_same(_named(*layer(X, hx, masks=masks)), expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert any(field is not None for m in masks for field in m)


@pytest.mark.parametrize("form", ["unbatched", "batch_first", "packed", "packed_unsorted", "lengths"])
@pytest.mark.parametrize("cell", CELLS)
def test_replay_in_every_form(cell: str, form: str) -> None:
    layer = _layer(cell, EVERYWHERE[cell], batch_first=form == "batch_first")
    call: dict[str, Any] = {"lengths": [2, 5, 0]} if form == "lengths" else {}
    batch, given = BATCH, X
    if form == "unbatched":
        batch, given = 1, X[:, 0]
    elif form == "batch_first":
        given = X.transpose(0, 1)
    elif form.startswith("packed"):
        lengths = torch.tensor((5, 4, 2) if form == "packed" else UNSORTED)
        given = pack_padded_sequence(X, lengths, enforce_sorted=form == "packed")
    torch.manual_seed(1)
    expected = _named(*layer(given, **call))
    torch.manual_seed(1)
    masks = layer.sample_masks(TIME, batch)
    assert_same(_named(*layer.eval()(given, masks=masks, **call)), expected)


# One integer


@pytest.mark.parametrize(("cell", "noise"), OF_CELL)
def test_one_integer_is_taken_from_the_generator(cell: str, noise: rd.Method) -> None:
    layer = _layer(cell, noise)
    torch.manual_seed(1)
    torch.randint(2**63 - 1, ())
    after_one = torch.get_rng_state()
    for draw in (lambda: layer.sample_masks(TIME, BATCH), lambda: layer(X), lambda: layer(X[:2, :1])):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        draw()
        assert torch.equal(torch.get_rng_state(), after_one)
        assert not torch.equal(before, after_one)
    layer.eval()(X)
    assert torch.equal(torch.get_rng_state(), after_one)


def _equal(a: rd.Masks, b: rd.Masks) -> bool:
    def same(x: Any, y: Any) -> bool:
        if isinstance(x, tuple):
            return all(torch.equal(p, q) for p, q in zip(x, y, strict=True))
        return (x is None and y is None) or torch.equal(x, y)

    return all(same(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_generator_of_ones_own(cell: str) -> None:
    layer = _layer(cell, EVERYWHERE[cell])
    torch.manual_seed(7)
    expected = layer.sample_masks(TIME, BATCH)
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(7)
    found = layer.sample_masks(TIME, BATCH, generator=generator)
    assert all(map(_equal, found, expected))
    assert torch.equal(torch.get_rng_state(), state)
    again = layer.sample_masks(TIME, BATCH, generator=generator)
    assert not any(map(_equal, again, expected))


def test_sample_masks_draws_training_masks_in_evaluation_too() -> None:
    layer = _layer("LSTM", EVERYWHERE["LSTM"])
    torch.manual_seed(1)
    expected = layer.sample_masks(TIME, BATCH)
    torch.manual_seed(1)
    assert all(map(_equal, layer.eval().sample_masks(TIME, BATCH), expected))
    assert expected[0].zone_c.dtype == torch.bool
    assert expected[0].recurrent.dtype == torch.float64
    assert layer.to(torch.float32).sample_masks(TIME, BATCH)[0].recurrent.dtype == torch.float32


def test_without_noise_nothing_is_drawn() -> None:
    state = torch.get_rng_state()
    for noise in (None, [], rd.Variational(0, 0, 0)):
        assert _layer("GRU", noise).sample_masks(TIME, BATCH) == (rd.Masks(),) * 4
        layer = _layer("GRU", noise)
    state = torch.get_rng_state()
    layer.sample_masks(TIME, BATCH)
    assert torch.equal(torch.get_rng_state(), state)


# What an index means


def _example(masks: tuple[rd.Masks, ...], b: int, steps: int) -> tuple[rd.Masks, ...]:
    """Return the masks of example b alone, over its own steps."""

    def cut(name: str, mask: Any) -> Any:
        if mask is None:
            return None
        if isinstance(mask, tuple):
            return tuple(cut(name, part) for part in mask)
        site = SITES[name]
        if site.operation == "affine":
            return mask[b : b + 1] if mask.dim() == 3 else mask
        if site.axes[0] == "batch":
            return mask[b : b + 1]
        mask = mask[:steps] if len(mask) > 1 else mask
        return mask[:, b : b + 1] if mask.shape[1] > 1 else mask

    return tuple(rd.Masks(**{name: cut(name, mask) for name, mask in m._asdict().items()}) for m in masks)


@pytest.mark.parametrize("backend", ["auto", "eager", "reference"])
@pytest.mark.parametrize(("cell", "proj_size"), [("LSTM", 0), ("LSTM", PROJECTED), ("GRU", 0), ("RNN", 0)])
def test_masks_belong_to_examples_and_their_own_steps(cell: str, proj_size: int, backend: str) -> None:
    noise = [m for m in EVERYWHERE[cell] if backend != "eager" or not getattr(m, "per_example", False)]
    layer = _layer(cell, noise, backend=backend, **({"proj_size": proj_size} if proj_size else {}))
    hx = _state(layer)
    states = hx if isinstance(hx, tuple) else (hx,)
    masks = layer.sample_masks(TIME, BATCH)
    for lengths in ((5, 4, 2), UNSORTED, (5, 5, 5)):
        alone = []
        for b, n in enumerate(lengths):
            start = tuple(s[:, b : b + 1] for s in states)
            y, state = layer(X[:n, b : b + 1], start if cell == "LSTM" else start[0], masks=_example(masks, b, n))
            alone.append(_named(nn.functional.pad(y, (0, 0, 0, 0, 0, TIME - n)), state))
        expected = {name: torch.cat([one[name] for one in alone], 1) for name in alone[0]}
        counts = torch.tensor(lengths)
        packed = pack_padded_sequence(X, counts, enforce_sorted=False)
        results = [layer(X, hx, masks=masks, lengths=counts), layer(packed, hx, masks=masks)]
        if lengths != UNSORTED:
            results.append(layer(pack_padded_sequence(X, counts), hx, masks=masks))
        for y, state in results:
            assert_same(_named(y, state), expected, ROUNDING)


@pytest.mark.parametrize(("cell", "noise"), OF_CELL)
def test_rows_and_steps_of_a_larger_batch_have_the_same_bits(cell: str, noise: rd.Method) -> None:
    layer = _layer(cell, noise)
    torch.manual_seed(1)
    large = layer.sample_masks(TIME + 4, BATCH + 2)
    torch.manual_seed(1)
    small = layer.sample_masks(TIME, BATCH)
    rows = [_example(large, b, TIME) for b in range(BATCH)]
    assert all(all(map(_equal, _example(small, b, TIME), rows[b])) for b in range(BATCH))


@pytest.mark.parametrize("cell", CELLS)
def test_layers_and_directions_have_masks_of_their_own(cell: str) -> None:
    noise = [rd.Zoneout(h=0.5), rd.Dropout(0.5, site="recurrent")]
    layer = OURS[cell](HIDDEN * 2, HIDDEN, 2, bidirectional=True, noise=noise)
    masks = layer.sample_masks(TIME, BATCH)
    for site in ("zone_h", "recurrent"):
        drawn = [getattr(m, site) for m in masks]
        assert all(d.shape == drawn[0].shape for d in drawn)
        assert not any(torch.equal(a, b) for a, b in itertools.combinations(drawn, 2))
        assert not any(torch.equal(a, b.flip(0)) for a, b in itertools.combinations(drawn, 2))


def test_state_reset_is_one_bit_for_all_layers() -> None:
    layer = _layer("LSTM", rd.StateReset(0.5))
    seen = set()
    for _ in range(20):
        masks = layer.sample_masks(TIME, 16)
        assert all(torch.equal(m.state, masks[0].state) for m in masks)
        assert masks[0].state.shape == (16, 1)
        seen |= set(masks[0].state.flatten().tolist())
    assert seen == {0.0, 1.0}


@pytest.mark.parametrize("backend", ["torch", "eager", "reference"])
def test_state_reset_starts_the_example_from_zeros(backend: str) -> None:
    layer = _layer("LSTM", None, backend=backend)
    h, c = _state(layer)
    bits = torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64)
    found = layer(X, (h, c), masks=(rd.Masks(state=bits),) * 4)
    assert_same(_named(*found), _named(*layer(X, (h * bits, c * bits))), ROUNDING)


# What is refused


def _bad(**fields: Any) -> tuple[rd.Masks, ...]:
    return (rd.Masks(), rd.Masks(**fields), rd.Masks(), rd.Masks())


ONE = torch.ones
NONE = rd.Masks()
COUNT = r"^masks must hold 4 rd.Masks, one for each layer and direction; got .*{}.*\. Take what sample_masks returns\.$"
SHAPE = r"^the mask at {} must broadcast to .*{}.*; got {}\. Take what sample_masks returns for these sizes\.$"
SITE = r"^masks= acts at the {} site; got a cell of kind {}, and it has no .*\. Use masks= with LSTM"
REFUSED = {
    "too few": ("GRU", (NONE,) * 3, COUNT.format("3 of")),
    "one alone": ("GRU", NONE, COUNT.format("1 of")),
    "tensors": ("GRU", (ONE(1),) * 4, COUNT.format("Tensor")),
    "time": ("GRU", _bad(zone_h=ONE(4, BATCH, HIDDEN)), SHAPE.format("zone_h", r"\(5, 3, 7\)", r"\(4, 3, 7\)")),
    "batch": ("GRU", _bad(output=ONE(TIME, 4, HIDDEN)), SHAPE.format("output", r"\(5, 3, 7\)", r"\(5, 4, 7\)")),
    "unit": ("GRU", _bad(recurrent=ONE(1, BATCH, 2)), SHAPE.format("recurrent", r"\(5, 3, 7\)", r"\(1, 3, 2\)")),
    "gates": ("GRU", _bad(recurrent=ONE(1, 3, 4, 7)), SHAPE.format("recurrent", r"\(5, 3, 3, 7\)", r"\(1, 3, 4, 7\)")),
    "axes": ("GRU", _bad(candidate=ONE(BATCH, HIDDEN)), SHAPE.format("candidate", r"\(5, 3, 7\)", r"\(3, 7\)")),
    "matrix": ("GRU", _bad(weight_hh=ONE(7, 7)), SHAPE.format("weight_hh", r"\(21, 7\)", r"\(7, 7\)")),
    "shift": ("GRU", _bad(weight_hh=(ONE(()), ONE(7, 7))), SHAPE.format("weight_hh", r"\(21, 7\)", r"\(7, 7\)")),
    "state": ("GRU", _bad(state=ONE(BATCH, HIDDEN)), SHAPE.format("state", r"\(3, 1\)", r"\(3, 7\)")),
    "detach": ("GRU", _bad(detach=ONE(TIME, BATCH, 1)), SHAPE.format("detach", r"\(5, 1, 1\)", r"\(5, 3, 1\)")),
    "no cell": ("GRU", _bad(cell=ONE(1, BATCH, HIDDEN)), SITE.format("cell", "GRU")),
    "no zone_c": ("RNN", _bad(zone_c=ONE(1, 1, 1)), SITE.format("zone_c", "RNN")),
    "no candidate": ("RNN", _bad(candidate=ONE(1, 1, 1)), SITE.format("candidate", "RNN")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_masks_that_do_not_fit_are_refused(case: str) -> None:
    cell, masks, rule = REFUSED[case]
    with pytest.raises(ValueError, match=rule):
        _layer(cell, None)(X, masks=masks)
    if case.startswith("no "):
        with pytest.raises(rd.UndefinedSiteError, match=r"\. Use masks= with LSTM"):
            _layer(cell, None)(X, masks=masks)


def test_sizes_of_sampled_masks_are_checked() -> None:
    with pytest.raises(ValueError, match=r"seq_len and batch_size must be 0 or more; got \(-1, 3\)"):
        _layer("GRU", rd.Zoneout(h=0.1)).sample_masks(-1, 3)


# Details


@pytest.mark.parametrize("backend", ["auto", "eager", "reference"])
@pytest.mark.parametrize("form", ["batched", "batch_first", "unbatched", "packed", "lengths"])
@pytest.mark.parametrize("cell", CELLS)
def test_details_are_the_steps_of_every_layer(cell: str, form: str, backend: str) -> None:
    noise = [rd.Locked(0.3, 0.3, 0.3), rd.Zoneout(h=0.3)]
    layer = _layer(cell, noise, backend=backend, batch_first=form == "batch_first")
    lengths = list(UNSORTED) if form in ("packed", "lengths") else [TIME] * BATCH
    given: Any = {"batch_first": X.transpose(0, 1), "unbatched": X[:, 0]}.get(form, X)
    if form == "packed":
        given = pack_padded_sequence(X, torch.tensor(lengths), enforce_sorted=False)
    masks = layer.sample_masks(TIME, 1 if form == "unbatched" else BATCH)
    call = {"masks": masks} | ({"lengths": lengths} if form == "lengths" else {})
    plain = _named(*layer(given, **call))
    y, state, details = layer(given, details=True, **call)
    assert isinstance(details, rd.Details)
    assert_same(_named(y, state), plain)

    def padded(value: Any) -> Tensor:
        assert type(value) is type(y)
        if isinstance(value, PackedSequence):
            value, _ = pad_packed_sequence(value)
        return value.transpose(0, 1) if form == "batch_first" else value[:, None] if form == "unbatched" else value

    output = torch.cat([m.output for m in masks[2:]], 2)
    assert_same({"y": padded(details.raw) * output}, {"y": padded(y)}, ROUNDING)
    assert torch.equal(padded(details.h[-1]), padded(details.raw))
    assert (len(details.h), details.c is None) == (2, cell != "LSTM")
    h_n, *c_n = state if cell == "LSTM" else (state,)
    for steps, final in ((details.h, h_n), *([(details.c, c_n[0])] if c_n else [])):
        assert len(steps) == 2
        final = final[:, None] if form == "unbatched" else final
        for index in range(4):
            forward, backward = padded(steps[index // 2]).chunk(2, 2)
            for b, n in enumerate(lengths[: forward.shape[1]]):
                step = forward[n - 1, b] if index % 2 == 0 else backward[0, b]
                assert_same({"step": step}, {"step": final[index, b]}, ROUNDING)
                assert not bool(forward[n:, b].any() or backward[n:, b].any())
    # h of the lower layer, through its output mask, is what the upper layer reads.
    upper = OURS[cell](2 * HIDDEN, HIDDEN, bidirectional=True, dtype=torch.float64)
    upper.load_state_dict({name.replace("_l1", "_l0"): p for name, p in layer.state_dict().items() if "_l1" in name})
    below = padded(details.h[0]) * torch.cat([m.output for m in masks[:2]], 2)
    found, _ = upper(below, masks=masks[2:], lengths=lengths[: below.shape[1]])
    assert_same({"y": found}, {"y": padded(y)}, ROUNDING)


def test_the_raw_output_alone_runs_on_torchs_kernels() -> None:
    layer = _layer("LSTM", [rd.Locked(0.3, 0.3, 0.3), rd.WeightDrop(0.5)])
    masks = layer.sample_masks(TIME, BATCH)
    y, state, whole = layer(X, masks=masks, details=True)
    layer.backend = "torch"
    again, after, raw = layer(X, masks=masks, details="raw")
    assert raw.c is None
    assert_same(_named(again, after), _named(y, state), ROUNDING)
    assert_same({"raw": raw.raw, "below": raw.h[0]}, {"raw": whole.raw, "below": whole.h[0]}, ROUNDING)
    with pytest.raises(rd.BackendError, match="c of every step"):
        layer(X, masks=masks, details=True)


def test_details_are_differentiable() -> None:
    layer = _layer("LSTM", rd.Zoneout(0.4, 0.3))
    results = []
    for backend in ("eager", "reference"):
        layer.backend = backend
        torch.manual_seed(1)
        _, _, details = layer(X, details=True)
        values = [*details.h, *details.c]
        loss = sum((v * numbers(*v.shape, seed=i)).sum() for i, v in enumerate(values))
        found = torch.autograd.grad(loss, list(layer.parameters()))
        results.append(dict(enumerate(found)))
    assert_same(*results, ROUNDING)
