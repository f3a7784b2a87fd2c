"""`describe` says what acts, with its mask, its backend, and what does nothing and why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from against_torch import HIDDEN, INPUT, OURS, numbers
from torch import nn

import recurdrop as rd
from recurdrop.masks import Sizes
from recurdrop.ops import native


def _rows(model: nn.Module) -> dict[tuple[str, str, str], Any]:
    return {(use.layer, use.method, use.site): use for use in rd.describe(model).uses}


def test_the_whole_text() -> None:
    noise = [rd.WeightDrop(0.5), rd.Locked(input=0.4, between=0.25, output=0.0)]
    layer = rd.LSTM(INPUT, HIDDEN, 2, dropout=0.1, noise=noise, backend="torch")
    assert str(rd.describe(layer)).splitlines() == [
        "layer  method      site       rate  mask       at evaluation  backend  without effect",
        "l0     WeightDrop  weight_hh  0.5   (G·H, H)   off            torch",
        "l0     Locked      input      0.4   (1, B, I)  off            torch",
        "l0     Locked      output     0.25  (1, B, H)  off            torch",
        "l0     dropout=    output     0.1   (T, B, H)  off            torch",
        "l1     WeightDrop  weight_hh  0.5   (G·H, H)   off            torch",
        "l1     Locked      output     0     (1, B, H)  off            torch    its rate is 0",
    ]


def test_one_layer_with_rates_between_layers() -> None:
    description = rd.describe(rd.GRU(INPUT, HIDDEN, noise=rd.Locked(input=0.4, between=0.25, output=0.4)))
    assert description.notes == ("GRU: between=0.25 of Locked has no effect in a stack of 1 layer",)
    assert [(use.site, use.rate) for use in description.uses] == [("input", 0.4), ("output", 0.4)]
    assert "note: GRU: between=0.25 of Locked has no effect" in str(description)
    assert rd.describe(rd.GRU(INPUT, HIDDEN, 2, noise=rd.Locked(0.4, 0.25, 0.4))).notes == ()


@pytest.mark.filterwarnings("ignore:dropout option adds dropout:UserWarning")
def test_dropout_with_one_layer() -> None:
    description = rd.describe(rd.LSTM(INPUT, HIDDEN, dropout=0.5))
    assert description.notes == ("LSTM: dropout=0.5 has no effect, it acts between layers and there is one layer",)
    assert str(description).startswith("no noise\nnote: LSTM: dropout=0.5")


def test_evaluation_mode() -> None:
    noise = [rd.Zoneout(0.5, 0.05), rd.Variational(0.4)]
    model = nn.ModuleDict({"encoder": rd.LSTM(INPUT, HIDDEN, noise=noise)}).eval()
    rows = _rows(model)
    assert rows["encoder l0", "Variational", "input"].without_effect == "evaluation mode"
    assert rows["encoder l0", "Variational", "input"].evaluation == "off"
    assert rows["encoder l0", "Zoneout", "zone_c"].without_effect == ""
    assert rows["encoder l0", "Zoneout", "zone_c"].evaluation == "0.5"
    assert rows["encoder l0", "Zoneout", "zone_h"].evaluation == "0.05"
    notes = rd.describe(model).notes
    assert notes == ("encoder: in evaluation mode, only what has a value under 'at evaluation' acts",)
    assert rd.describe(model.train()).notes == ()


def test_rate_of_zero() -> None:
    rows = _rows(rd.GRU(INPUT, HIDDEN, noise=rd.Variational(input=0, recurrent=0.3)))
    assert rows["l0", "Variational", "input"].without_effect == "its rate is 0"
    assert rows["l0", "Variational", "recurrent"].without_effect == ""


def test_site_that_the_cell_lacks() -> None:
    with pytest.warns(UserWarning, match="left out"):
        model = rd.regularize(nn.Sequential(nn.LSTM(INPUT, HIDDEN), nn.GRU(INPUT, HIDDEN)), rd.RNNDrop(0.3))
    description = rd.describe(model)
    assert [use.layer for use in description.uses] == ["0 l0"]
    assert description.notes == (
        "1: RNNDrop acts at the cell site; got a cell of kind GRU, and it has no cell state beside h. "
        "Use RNNDrop with LSTM, or another method here.",
    )


def test_layers_that_are_not_ours_and_models_without_any() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.GRU(2, 2))
    assert str(rd.describe(model)) == "no noise\nnote: no noise: 1 is GRU of torch; give it noise with rd.regularize"
    assert (
        str(rd.describe(nn.LSTM(2, 2)))
        == "no noise\nnote: no noise: the model is LSTM of torch; give it noise with rd.regularize"
    )
    assert str(rd.describe(nn.Linear(2, 2))) == "no noise"


FAST = "eager" if native.missing() else "native"
OUTSIDE = "torch" if native.missing() else "native"
BACKENDS = [
    (rd.Locked(0.4), "auto", OUTSIDE),
    (rd.Variational(0.4), "auto", OUTSIDE),
    (rd.Variational(0.4, tied=False), "auto", FAST),
    (rd.Variational(0, 0.3), "auto", FAST),
    (rd.Keras(0.3, 0.3), "auto", FAST),
    (rd.HDetach(0.3), "auto", FAST),
    (rd.DropConnect(0.5), "auto", OUTSIDE),
    (rd.DropConnect(0.5, per_example=True), "auto", "reference"),
    (rd.Locked(0.4), "torch", "torch"),
    (rd.Locked(0.4), "eager", "eager"),
    (rd.Locked(0.4), "reference", "reference"),
    (rd.Zoneout(), "torch", "none: torch can't"),
    (rd.DropConnect(0.5, per_example=True), "eager", "none: eager can't"),
]


@pytest.mark.parametrize(("noise", "wanted", "backend"), BACKENDS)
def test_backend_is_the_one_that_runs(noise: rd.Method, wanted: str, backend: str) -> None:
    layer = rd.LSTM(INPUT, HIDDEN, noise=noise, backend=wanted)
    assert {use.backend for use in rd.describe(layer).uses} == {backend}
    x = numbers(3, 2, INPUT).float()
    if backend.startswith("none"):
        with pytest.raises(rd.BackendError, match=f'backend="{wanted}" can\'t run this'):
            layer(x)
    else:
        torch.manual_seed(1)
        expected, _ = layer(x)
        layer.backend = backend
        torch.manual_seed(1)
        assert torch.equal(layer(x)[0], expected)
    if wanted == "auto":
        layer.backend = "auto"
        assert {use.backend for use in rd.describe(layer.eval()).uses} == {"torch"}


SHAPES = [
    ("LSTM", rd.Variational(0.4, 0.3, 0.5), ["(1, B, I)", "(1, B, P)", "(1, B, P)"]),
    ("LSTM", rd.Variational(0.4, 0.3, 0.5, tied=False), ["(1, B, G, I)", "(1, B, G, P)", "(1, B, P)"]),
    ("LSTM", rd.Zoneout(), ["(T, B, P)", "(T, B, H)"]),
    ("LSTM", rd.Zoneout(c=0.3, h=0.3, stochastic_depth=True), ["(T, B, 1)", "(T, B, 1)"]),
    ("LSTM", rd.RecurrentDropout(), ["(T, B, H)"]),
    ("LSTM", rd.RecurrentDropout(per="sequence"), ["(1, B, H)"]),
    ("LSTM", rd.RNNDrop(), ["(1, B, H)"]),
    ("LSTM", rd.DropConnect(0.5, ih=True), ["(G·H, P)", "(G·H, I)"]),
    ("LSTM", rd.DropConnect(0.5, unit="row"), ["(G·H, 1)"]),
    ("LSTM", rd.DropConnect(0.5, unit="column", per_example=True), ["(B, 1, P)"]),
    ("LSTM", rd.StateReset(0.5), ["(B, 1)"]),
    ("LSTM", rd.HDetach(0.5), ["(T, 1, 1)"]),
    ("GRU", rd.Variational(0.4, 0.3, 0.5), ["(1, B, I)", "(1, B, H)", "(1, B, H)"]),
    ("GRU", rd.Keras(0.4, 0.3), ["(1, B, G, I)", "(1, B, G, H)"]),
    ("RNN", rd.Zaremba(0.4), ["(T, B, I)", "(T, B, H)"]),
    ("RNN", rd.Keras(0.4, 0.3), ["(1, B, I)", "(1, B, H)"]),
]


@pytest.mark.parametrize(("cell", "noise", "shapes"), SHAPES)
def test_mask_in_letters_is_the_shape_that_is_drawn(cell: str, noise: rd.Method, shapes: list[str]) -> None:
    projected = {"proj_size": 4} if cell == "LSTM" else {}
    layer = OURS[cell](INPUT, HIDDEN, noise=noise, **projected)
    uses = rd.describe(layer).uses
    assert [use.shape for use in uses] == shapes
    (masks,) = layer.sample_masks(11, 13)
    sizes: Sizes = layer._sizes(0, 11, 13)
    lengths = {"T": 11, "B": 13, "G": sizes.gates, "I": INPUT, "H": HIDDEN, "P": sizes.state, "1": 1}
    lengths["G·H"] = sizes.gates * HIDDEN
    for use in uses:
        mask = getattr(masks, use.site)
        assert tuple(mask.shape) == tuple(lengths[letter] for letter in use.shape.strip("()").split(", ")), use


def test_names_in_a_model_and_directions() -> None:
    model = nn.ModuleDict({"a": rd.GRU(2, 2, 2, bidirectional=True, noise=rd.WeightDrop(0.5)), "b": rd.RNN(2, 2)})
    assert [use.layer for use in rd.describe(model).uses] == ["a l0+reverse", "a l1+reverse"]
    assert rd.describe(model["a"]).uses[0].layer == "l0+reverse"
