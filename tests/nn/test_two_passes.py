"""Two passes through a whole model: which masks they share, call by call, and one pass of 2B examples instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import recurdrop as rd
from recurdrop.nn.mask_pairs import MaskPairs

V, E, H, T, B = 20, 6, 7, 5, 3
IDS = torch.randint(V, (T, B), generator=torch.Generator().manual_seed(0))
EVERYWHERE: list[rd.Method] = [
    rd.Zoneout(c=0.4, h=0.3),
    rd.Variational(0.3, 0.3, 0.3, tied=False),
    rd.RecurrentDropout(0.3),
    rd.RNNDrop(0.3),
    rd.StateReset(0.4),
    rd.WeightDrop(0.3),
]


class Model(nn.Module):
    """Word dropout of each kind, two layers with noise at many sites, and a locked output."""

    def __init__(self, noise: Any = (), batch_first: bool = False, **rates: float) -> None:
        super().__init__()
        rate = {"words": 0.3, "encoder": 0.3, "locked": 0.3} | rates
        torch.manual_seed(0)
        made = {"dtype": torch.float64}
        self.words = rd.nn.WordDropout(rate["words"], unk=0, batch_first=batch_first)
        embedding = nn.Embedding(V, E, **made)
        self.encoder = rd.nn.EmbeddingDropout(embedding, rate["encoder"], batch_first=batch_first)
        self.rnn = rd.LSTM(E, H, 2, noise=noise, batch_first=batch_first, **made)
        self.locked = rd.nn.LockedDropout(rate["locked"], batch_first=batch_first)
        self.decoder = nn.Linear(H, V, **made)

    def forward(self, ids: Any, state: Any = None) -> tuple[Tensor, Any]:
        y, state = self.rnn(self.encoder(self.words(ids)), state)
        return self.decoder(self.locked(y)), state


def state() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    h, c = torch.randn(2, 2, B, H, dtype=torch.float64, generator=generator)
    return h, c


def flat(*outputs: Any) -> Tensor:
    return torch.cat([t.flatten() for y, (h, c) in outputs for t in (y, h, c)])


def parts(model: Model) -> list[nn.Module]:
    return [model.words, model.encoder, model.rnn, model.locked]


def test_all_masks_shared_cost_nothing() -> None:
    model = Model(EVERYWHERE)
    for share in (model, parts(model)):
        first, second = rd.two_passes(model, IDS, state(), share=share)
        assert torch.equal(flat(first), flat(second))
        assert rd.fraternal(first[0], second[0]).item() == 0.0
    plain, _ = model.eval()(IDS, state())
    assert not torch.equal(first[0], plain)


def test_nothing_shared_is_two_calls() -> None:
    model = Model(EVERYWHERE)
    torch.manual_seed(1)
    expected = flat(model(IDS, state()), model(IDS, state()))
    torch.manual_seed(1)
    outputs = rd.two_passes(model, IDS, state())
    assert torch.equal(flat(*outputs), expected)
    assert not torch.equal(*(y for y, _ in outputs))


class Seen(NamedTuple):
    """What a part of the model was given in each pass."""

    first: Any
    second: Any


def spy(model: Model, **options: Any) -> dict[str, Seen]:
    """Run two passes and return the masks that each part was given."""
    seen: dict[str, list[Any]] = {}
    names = {getattr(model, name): name for name in ("words", "encoder", "rnn", "locked")}

    def noted(draw: Any) -> Any:
        def drawn(self: MaskPairs, module: nn.Module, input: Any) -> Any:
            masks = draw(self, module, input)
            if module in names:
                seen.setdefault(names[module], []).append(masks)
            return masks

        return drawn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MaskPairs, "first", noted(MaskPairs.first))
        patch.setattr(MaskPairs, "second", noted(MaskPairs.second))
        rd.two_passes(model, IDS, state(), **options)
    return {name: Seen(*calls) for name, calls in seen.items()}


def test_sites_are_shared_in_every_layer_and_no_others() -> None:
    seen = spy(Model(EVERYWHERE), share=("weight_hh", "zone_c"))
    for first, second in zip(*seen.pop("rnn"), strict=True):
        for site, mine in first._asdict().items():
            theirs = getattr(second, site)
            if mine is not None:
                assert torch.equal(mine, theirs) == (site in ("weight_hh", "zone_c")), site
    for name, (mine, theirs) in seen.items():
        assert not torch.equal(mine, theirs), name


@pytest.mark.parametrize("name", ["words", "encoder", "rnn", "locked"])
def test_a_module_is_shared_whole_and_no_others(name: str) -> None:
    # Word dropout off, or the encoder's mask would be for other words.
    model = Model(EVERYWHERE, **({} if name == "words" else {"words": 0.0}))
    seen = spy(model, share=getattr(model, name))
    rnn = seen.pop("rnn")
    seen |= {f"rnn.{i}.weight_hh": Seen(a.weight_hh, b.weight_hh) for i, (a, b) in enumerate(zip(*rnn, strict=True))}
    for part, (mine, theirs) in seen.items():
        if mine is None:
            assert part == "words" and theirs is None
        else:
            assert torch.equal(mine, theirs) == part.startswith(name), part


def test_a_shared_bit_follows_its_word() -> None:
    """Words that differ between the passes, because word dropout is not shared, keep the bit of their type."""
    model = Model(words=0.5, encoder=0.5)
    looked_up: list[Tensor] = []
    model.encoder.register_forward_hook(lambda module, args, y: looked_up.extend((args[0], (y != 0).any(-1))))
    rd.two_passes(model, IDS, share=model.encoder)
    ids, kept, other_ids, other_kept = looked_up
    assert not torch.equal(ids, other_ids)
    found: dict[int, set[bool]] = {}
    for word, bit in zip(
        torch.cat([ids, other_ids]).flatten().tolist(), torch.cat([kept, other_kept]).flatten().tolist(), strict=True
    ):
        found.setdefault(word, set()).add(bit)
    assert all(len(values) == 1 for values in found.values())
    assert {True} in found.values() and {False} in found.values()


def test_layers_called_more_than_once_and_packed_input() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = rd.GRU(E, H, noise=[rd.Locked(output=0.5), rd.WeightDrop(0.5)], dtype=torch.float64)

        def forward(self, *windows: Any) -> list[Tensor]:
            return [getattr(y, "data", y) for y, _ in map(self.rnn, windows)]

    x = torch.randn(T, B, E, dtype=torch.float64)
    packed = pack_padded_sequence(x, torch.tensor([2, 5, 1]), enforce_sorted=False)
    model = Windows()
    first, second = rd.two_passes(model, x, packed, x, x[:, 0], share=model.rnn)
    for mine, theirs in zip(first, second, strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(first[0], first[2])


def test_a_site_at_a_rate_of_nothing_may_be_named() -> None:
    layer = rd.GRU(E, H, noise=[rd.Zoneout(h=0.5), rd.WeightDrop(0.0)])
    first, second = rd.two_passes(layer, torch.randn(T, B, E), share="weight_hh")
    assert not torch.equal(first[0], second[0])


def test_evaluation_pass_is_the_deterministic_one() -> None:
    model = Model(EVERYWHERE)
    model.locked.eval()
    expected = flat(model.eval()(IDS, state()))
    model.train()
    model.locked.eval()
    torch.manual_seed(1)
    noisy = flat(model(IDS, state()))
    torch.manual_seed(1)
    first, second = rd.two_passes(model, IDS, state(), second="evaluation")
    assert torch.equal(flat(first), noisy)
    assert torch.equal(flat(second), expected)
    assert [m.training for m in (model, model.rnn, model.locked)] == [True, True, False]
    (second[0].sum() + first[0].sum()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_modes_and_hooks_are_put_back_after_an_error() -> None:
    model = Model(EVERYWHERE)
    for options in ({"second": "evaluation"}, {"share": model}):
        with pytest.raises((RuntimeError, ValueError)):
            rd.two_passes(model, IDS, state()[0], **options)
        assert all(m.training for m in model.modules())
        assert not any(m._forward_pre_hooks for m in model.modules())
    failing = iter([None, ZeroDivisionError])
    model.decoder.register_forward_pre_hook(lambda *_: next(failing) and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rd.two_passes(model, IDS, second="evaluation")
    assert all(m.training for m in model.modules())


def test_masks_that_the_model_gives_are_left_alone() -> None:
    layer = rd.GRU(E, H, noise=rd.Locked(output=0.5))
    x = torch.randn(T, B, E)
    masks = layer.sample_masks(T, B)
    first, second = rd.two_passes(layer, x, share="output", masks=masks)
    assert torch.equal(first[0], layer(x, masks=masks)[0]) and torch.equal(second[0], first[0])
    layer.eval()
    first, second = rd.two_passes(layer, x, share="output")
    assert torch.equal(first[0], layer(x)[0]) and torch.equal(second[0], first[0])


# One pass of 2B examples


def shares(model: Model) -> list[Any]:
    return [
        "weight_hh",
        ("weight_hh", "zone_c", "output"),
        model,
        ("weight_hh", model.encoder),
        model.rnn,
        ("weight_hh", model.words),
    ]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("which", range(6))
def test_one_pass_has_the_masks_of_two(which: int, batch_first: bool) -> None:
    model = Model(EVERYWHERE, batch_first)
    share, ids = shares(model)[which], IDS.T.contiguous() if batch_first else IDS
    outputs = []
    for run, options in (
        (rd.two_passes, {}),
        (rd.two_passes_at_once, {"in_dims": (0, 1), "out_dims": (0, 1)} if batch_first else {}),
    ):
        torch.manual_seed(1)
        first, second = run(model, ids, state(), share=share, **options)
        model.zero_grad()
        loss = rd.fraternal(first[0], second[0], 1.0) + first[0].square().mean() + second[0].sum()
        loss.backward()
        outputs.append([flat(first), flat(second), *(p.grad for p in model.parameters())])
    for found, expected in zip(*outputs, strict=True):
        # Products of 2B rows in place of B, and sums of gradients in another order: measured 4e-16.
        assert (found - expected).abs().max() < 2e-15 * max(1, expected.abs().max())
    assert (which == 2) == torch.equal(outputs[0][0], outputs[0][1])


def test_one_pass_per_example_weights_and_affine_noise() -> None:
    x = torch.randn(T, B, E, dtype=torch.float64)
    for noise, share in (
        ([rd.DropConnect(0.4, per_example=True), rd.HDetach(0.5)], "detach"),
        ([rd.WeightNoise(0.1), rd.Locked(output=0.5)], ("weight_hh", "weight_ih")),
        ([rd.Mixout(0.3), rd.Keras(0.2, 0.2)], ("weight_hh", "weight_ih", "input")),
    ):
        layer = rd.GRU(E, H, noise=noise, dtype=torch.float64)
        results = []
        for run in (rd.two_passes, rd.two_passes_at_once):
            torch.manual_seed(1)
            (y, _), (z, _) = run(layer, x, share=share)
            results.append(torch.stack([y, z]))
        assert (results[0] - results[1]).abs().max() < 2e-15
        assert not torch.equal(*results[0])


def test_one_pass_without_noise_and_with_plain_dropout() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.drop = rd.GRU(E, H), rd.nn.Dropout(0.5)

        def forward(self, x: Any) -> dict[str, Any]:
            y, h = self.rnn(x)
            return {"y": [self.drop(y)], "h": (h,), "other": "text"}

    first, second = rd.two_passes_at_once(Plain(), torch.randn(T, B, E))
    assert torch.equal(first["h"][0], second["h"][0]) and first["h"][0].shape == (1, B, H)
    assert not torch.equal(first["y"][0], second["y"][0]) and second["other"] == "text"


def called_again(model: nn.Module, extra: Any) -> nn.Module:
    """The model, called twice where `extra` gives 1; it gives one number for each call."""

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Tensor) -> Any:
            output = self.model(ids)
            return self.model(ids) if next(extra) else output

    return Wrapped()


X = torch.ones(T, B, E, dtype=torch.float64)


def misnamed_layout(model: Model) -> None:
    model.encoder.batch_first = True
    rd.two_passes_at_once(model, IDS, share="weight_hh")


REFUSED: list[tuple[Callable[[Model], Any], str]] = [
    (lambda m: rd.two_passes(m, IDS, share="weights"), "share names a site, one of input, weight_ih.*got 'weights'"),
    (
        lambda m: rd.two_passes(rd.GRU(E, H, noise=rd.Zoneout(h=0.1)), X, share=("weight_hh", "zone_h")),
        "where layers of the model have noise: zone_h; got 'weight_hh'",
    ),
    (lambda m: rd.two_passes(nn.GRU(E, H), X, share="output"), "layers of the model have noise: none; got 'output'"),
    (lambda m: rd.two_passes_at_once(m, IDS, share=("weight_hh", "detach")), "have noise: .*; got 'detach'"),
    (lambda m: rd.two_passes(m, IDS, share=rd.nn.Dropout()), "modules of the model with masks of ours; got 'Dropout'"),
    (lambda m: rd.two_passes(m, IDS, share=m.decoder), "got 'Linear'. For torch's dropout, take rd.nn.Dropout"),
    (lambda m: rd.two_passes(m, IDS, share=m, second="evaluation"), "share needs two passes in training mode"),
    (lambda m: rd.two_passes(m, IDS, second="eval"), "must be 'training' or 'evaluation'; got 'eval'"),
    (lambda m: rd.two_passes(torch.compile(m, backend="eager"), IDS, share=m), "can't be given into compiled graphs"),
    (lambda m: rd.two_passes(called_again(m, iter([0, 1])), IDS, share="output"), "equally often; got 'WordDropout'"),
    (lambda m: rd.two_passes(called_again(m, iter([1, 0])), IDS, share="output"), "equally often; got 'WordDropout'"),
    (lambda m: rd.two_passes_at_once(m, IDS), "noise at weight_hh'. Add 'weight_hh' to share, or use two_passes"),
    (
        lambda m: rd.two_passes_at_once(nn.Sequential(nn.BatchNorm1d(B), m.rnn), X, share="weight_hh"),
        "examples must not meet in the model; got 'BatchNorm1d'",
    ),
    (
        lambda m: rd.two_passes_at_once(m.rnn, pack_padded_sequence(X, torch.tensor([5, 5, 5]))),
        "takes padded batches; got 'a PackedSequence'",
    ),
    (misnamed_layout, r"EmbeddingDropout in one pass of both takes padded batches of 6 examples; got \(5, 6\)"),
    (
        lambda m: rd.two_passes_at_once(rd.nn.Dropout(noise_shape=(None, 1, None)), X),
        r"Dropout in one pass of both takes padded batches of 6 examples; got \(5, 6, 6\)",
    ),
    (
        lambda m: rd.two_passes_at_once(Model(EVERYWHERE, batch_first=True), IDS.T, in_dims=0, share="weight_hh"),
        r"the model returns must have 6 examples on axis 1; got \(6, 5, 20\). Give their axes in out_dims",
    ),
    (
        lambda m: rd.two_passes_at_once(m, IDS, share="weight_hh", out_dims=3),
        r"must have 6 examples on axis 3; got \(5, 6, 20\)",
    ),
    (lambda m: rd.two_passes_at_once(m, IDS, in_dims=(1, 1)), r"one entry for each of 1 values; got \(1, 1\)"),
    (lambda m: rd.two_passes_at_once(m, IDS, state(), in_dims=(0, 1)), r"one number of examples; got \[3, 5\]"),
]


@pytest.mark.parametrize(("run", "message"), REFUSED)
def test_refusals(run: Callable[[Model], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(Model(EVERYWHERE))
