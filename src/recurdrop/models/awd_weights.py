"""Weights that awd-lstm-lm and fastai have saved, for our models."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recurdrop.errors import invalid
from recurdrop.models.stack import LanguageStack

Source = Mapping[str, Any] | str | os.PathLike[str]

_PART = re.compile(r"(?:[01]\.)?(?:module\.)?(encoder|encoder_dp|encoder_with_dropout|rnns|decoder)\.(.+)")
_LAYER = re.compile(r"(\d+)\.(?:module\.)?((?:weight|bias)_(?:ih|hh)_l0)(_raw)?")
_COPIES = {"encoder_dp": "emb.weight", "encoder_with_dropout": "embed.weight"}
_TIED = {"encoder.weight": "encoder.embedding.weight"}


def load_awd_weights(model: LanguageStack, source: Source) -> None:
    """Load weights saved by awd-lstm-lm or fastai into a model like theirs.

    Args:
        model: an `AWDLSTM` of the saved sizes (fastai's hidden width is 1152), or another tied `LanguageStack` of LSTM
            layers with one layer each. Nothing changes if it does not fit.
        source: what `read_awd_weights` takes.

    Raises:
        ValueError: what is missing, unknown, or of another shape, all of it; what `read_awd_weights` refuses.
    """
    given, wanted = read_awd_weights(source), model.state_dict()
    wrong: dict[str, object] = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unknown": sorted(given.keys() - wanted.keys()),
        "of another shape": {
            name: f"{tuple(given[name].shape)} for {tuple(wanted[name].shape)}"
            for name in sorted(given.keys() & wanted.keys())
            if given[name].shape != wanted[name].shape
        },
    }
    if any(wrong.values()):
        raise invalid(
            "the weights must be those of the model",
            {what: found for what, found in wrong.items() if found},
            "Make the model with the saved sizes; an encoder alone goes in with "
            "model.load_state_dict(read_awd_weights(source), strict=False).",
        )
    model.load_state_dict(given)


def read_awd_weights(source: Source) -> dict[str, Tensor]:
    """Read weights saved by awd-lstm-lm or fastai, under the names of `AWDLSTM`.

    Both keep the recurrent matrix as `weight_hh_l0_raw`: awd-lstm-lm (and fastai 0.7) as
    `rnns.0.module.weight_hh_l0_raw`, fastai from 1.0 on as `rnns.0.weight_hh_l0_raw`, and beside it a `weight_hh_l0`
    that may be a dropped copy and is left out. So are fastai's second and third copy of the embedding. Without weight
    drop the matrix is `weight_hh_l0` alone. The prefixes `0.` and `1.` of fastai's pair of encoder and decoder, and
    `module.` of DataParallel, fall away.

    Args:
        source: a state dict, or a file with one: of `torch.save(model.state_dict(), ...)`, fastai's `learn.save` or
            `learn.save_encoder` (which has no decoder's bias). It is read with `weights_only=True`.

    Returns:
        A state dict for `AWDLSTM`; names that mean nothing here are kept as they are.

    Raises:
        ValueError: a file with more than tensors in it, such as the model.pt of awd-lstm-lm; no weights of that kind;
            a decoder whose matrix is not the embedding.
    """
    state = source if isinstance(source, Mapping) else _read(source)
    found: dict[str, Tensor] = {}
    raw: dict[str, Tensor] = {}
    for name, value in state.items():
        part, rest = _split(name)
        if _COPIES.get(part) == rest:
            continue
        layer = _LAYER.fullmatch(rest) if part == "rnns" else None
        if layer is not None:
            (raw if layer[3] else found)[f"rnns.{layer[1]}.{layer[2]}"] = value
        else:
            whole = f"{part}.{rest}" if part else name
            found[_TIED.get(whole, whole)] = value
    found |= raw
    embedding = found.get("encoder.embedding.weight")
    if embedding is None or not any(name.startswith("rnns.") for name in found):
        raise invalid(
            "weights of an AWD-LSTM have encoder.weight and rnns.0.…",
            sorted(state),
            "Give the whole model's state dict.",
        )
    if not torch.equal(found.setdefault("decoder.weight", embedding), embedding):
        raise invalid(
            "decoder.weight must be encoder.weight, as tied models save it",
            "two matrices",
            "Copy them by hand into a LanguageStack whose decoder is not tied.",
        )
    return found


def _split(name: str) -> tuple[str, str]:
    match = _PART.fullmatch(name)
    return (match[1], match[2]) if match else ("", name)


def _read(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise invalid(
            "a file of weights must hold tensors alone, since unpickling anything else can run code",
            os.fspath(path),
            "Where that model runs and its file is trusted, awd-lstm-lm's model.pt is turned into one by "
            'model = torch.load("model.pt", weights_only=False)[0]; torch.save(model.state_dict(), "weights.pt"), and '
            'fastai writes one with learn.save("weights", with_opt=False).',
        ) from None
    if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):
        state = state["model"]
    if not isinstance(state, Mapping):
        raise invalid("a file of weights must hold a state dict", type(state).__name__, "Save model.state_dict().")
    return state
