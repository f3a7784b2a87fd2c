"""Penalties of the literature on recurrent networks, each alone and scaled by its coefficient, a mean over tokens.

The task's loss stays yours: add the penalty to it before `backward`, and report the loss without it. Where a batch is
padded, `mask` says which tokens are real; what lies at the others, NaN included, reaches no value and no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from recurdrop.errors import invalid


def activation_regularization(
    dropped: Tensor | PackedSequence, alpha: float = 2.0, *, mask: Tensor | None = None
) -> Tensor:
    """Activation regularization (AR): small outputs.

    Equation:
        α · mean (m ⊙ h_t)², over tokens and units.

    Args:
        dropped: the last layer's output after its output dropout, (..., F) or packed: what a layer of ours returns
            with noise at its output site, or what came out of `LockedDropout`.
        alpha: α, 0 or more.
        mask: bool (...), True at real tokens.

    Returns:
        The penalty, without axes.

    Raises:
        ValueError: a negative coefficient, or a mask that does not fit.

    Source:
        Merity et al. 2017, arXiv:1708.01009; α = 2 in Merity et al. 2018, arXiv:1708.02182. The papers write
        α · ‖m ⊙ h_t‖₂; the published numbers come from the mean of squares, as in the authors' code and here.
    """
    h, mask = _tokens(dropped, mask)
    return _coefficient("alpha", alpha) * _mean(h.square().mean(-1), mask)


def temporal_activation_regularization(
    raw: Tensor | PackedSequence, beta: float = 1.0, *, batch_first: bool = False, mask: Tensor | None = None
) -> Tensor:
    """Temporal activation regularization (TAR): outputs that change slowly.

    Equation:
        β · mean (h_{t+1} - h_t)², over units and pairs of neighbouring real tokens; 0 for sequences of one step.

    Args:
        raw: the last layer's output before its output dropout, (T, B, F), (T, F) or packed: `details.raw` of a layer
            of ours called with `details=True`.
        beta: β, 0 or more.
        batch_first: whether `raw` is (B, T, F), and the mask (B, T).
        mask: bool (T, B), True at real tokens.

    Returns:
        The penalty, without axes. There is no difference across the border of two windows.

    Raises:
        ValueError: a negative coefficient, or a mask that does not fit.

    Source:
        As `activation_regularization`; β = 1. The papers write β · ‖h_t - h_{t+1}‖₂, the authors' code is as here.
    """
    h, mask = _tokens(raw, mask)
    before, after = _neighbours(h, raw, batch_first)
    return _coefficient("beta", beta) * _mean((after - before).square().mean(-1), _pairs(mask, raw, batch_first))


def norm_stabilizer(
    h: Tensor | PackedSequence, beta: float = 50.0, *, batch_first: bool = False, mask: Tensor | None = None
) -> Tensor:
    """Norm stabilizer: hidden states whose norm stays the same from step to step.

    Equation:
        β · mean (‖h_{t+1}‖₂ - ‖h_t‖₂)², over pairs of neighbouring real tokens; 0 for sequences of one step. The
        gradient of ‖h‖ at h = 0 is 0.

    Args:
        h: hidden states (T, B, F), (T, F) or packed, of `details.h`; the authors' option is to take the cell states
            `details.c`.
        beta: β, 0 or more.
        batch_first: whether `h` is (B, T, F), and the mask (B, T).
        mask: bool (T, B), True at real tokens.

    Returns:
        The penalty, without axes.

    Raises:
        ValueError: a negative coefficient, or a mask that does not fit.

    Source:
        Krueger & Memisevic 2016, arXiv:1511.08400; β = 50 on characters of Penn Treebank. As in the authors' code,
        the step from the initial state to the first is left out.
    """
    states, mask = _tokens(h, mask)
    squares = states.square().sum(-1)
    norms = squares.clamp(min=torch.finfo(squares.dtype).tiny).sqrt()
    before, after = _neighbours(norms, h, batch_first)
    return _coefficient("beta", beta) * _mean((after - before).square(), _pairs(mask, h, batch_first))


def fraternal(first: Tensor, second: Tensor, kappa: float = 0.15, *, mask: Tensor | None = None) -> Tensor:
    """Fraternal dropout: two passes with other masks give the same logits.

    Equation:
        κ · mean (p(s_i) - p(s_j))², over tokens and logits. The whole loss is
        ½ (CE(p(s_i)) + CE(p(s_j))) + that; the gradient flows through both passes.

    Args:
        first: logits before the softmax, (..., V).
        second: those of the second pass from the same state, see `two_passes`.
        kappa: κ, 0 or more.
        mask: bool (...), True at real tokens.

    Returns:
        The penalty, without axes.

    Raises:
        ValueError: a negative coefficient, or shapes that differ.

    Source:
        Zolna et al. 2018, arXiv:1711.00066; κ = 0.15 for one layer, 0.1 for AWD-LSTM (without AR and TAR). The state
        carried on is the first pass's.
    """
    return _coefficient("kappa", kappa) * _distance(first, second, mask)


def expectation_linear(noisy: Tensor, expected: Tensor, kappa: float = 0.25, *, mask: Tensor | None = None) -> Tensor:
    """Expectation-linear dropout: a pass with noise gives the logits of the pass without.

    Equation:
        κ · mean (p(s) - p(E[s]))², over tokens and logits. The whole loss is CE(p(s)) + that; the gradient flows
        through both passes. On average over masks, the fraternal penalty is at most four times this one.

    Args:
        noisy: logits of the pass in training mode, (..., V).
        expected: those of the pass in evaluation mode, see `two_passes(..., second="evaluation")`.
        kappa: κ, 0 or more.
        mask: bool (...), True at real tokens.

    Returns:
        The penalty, without axes.

    Raises:
        ValueError: a negative coefficient, or shapes that differ.

    Source:
        Ma et al. 2017, arXiv:1609.08017, in the form for recurrent networks of Zolna et al. 2018, arXiv:1711.00066,
        with κ = 0.25.
    """
    return _coefficient("kappa", kappa) * _distance(noisy, expected, mask)


def pi_model(
    first: Tensor, second: Tensor, kappa: float = 0.15, *, of: str = "logits", mask: Tensor | None = None
) -> Tensor:
    """Π-model: two passes agree, of which the first alone learns from the labels.

    Equation:
        κ · mean (p(s_i) - p(s_j))², over tokens and logits. The whole loss is CE(p(s_i)) + that; the gradient flows
        through both passes.

    Args:
        first: logits before the softmax, (..., V).
        second: those of the second pass from the same state, see `two_passes`.
        kappa: κ, 0 or more.
        of: "logits", or "probabilities" for the distance of their softmax.
        mask: bool (...), True at real tokens.

    Returns:
        The penalty, without axes.

    Raises:
        ValueError: a negative coefficient, another `of`, or shapes that differ.

    Source:
        Laine & Aila 2017, arXiv:1610.02242, who compare probabilities and raise κ slowly from 0; in the form for
        recurrent networks of Zolna et al. 2018, arXiv:1711.00066: logits, with κ = 0.15.
    """
    if of not in ("logits", "probabilities"):
        raise invalid("of in pi_model must be 'logits' or 'probabilities'", of, "Choose one of them.")
    if of == "probabilities":
        _same_shape(first, second)
        first, mask = _tokens(first, mask)
        second, _ = _tokens(second, mask)
        first, second = first.softmax(-1), second.softmax(-1)
    return _coefficient("kappa", kappa) * _distance(first, second, mask)


def r_drop(first: Tensor, second: Tensor, alpha: float, *, mask: Tensor | None = None) -> Tensor:
    """R-Drop: two passes with other masks give the same distribution.

    Equation:
        α · ½ (KL(p‖q) + KL(q‖p)), the mean over tokens; p and q are the softmax of the logits. The whole loss is
        ½ (CE(p) + CE(q)) + that; the gradient flows through both passes.

    Args:
        first: logits before the softmax, (..., V); a constant added to all of a token's changes nothing.
        second: those of the second pass from the same state, see `two_passes`.
        alpha: α, 0 or more; 1 to 5 are usual for translation.
        mask: bool (...), True at real tokens.

    Returns:
        The penalty, without axes, in nats.

    Raises:
        ValueError: a negative coefficient, or shapes that differ.

    Source:
        Liang et al. 2021, arXiv:2106.14448. The paper adds CE(p) + CE(q) without ½, so that its α is twice the one
        here for the same minimum; the authors' code is as here, but leaves sum or mean over tokens to the user.
    """
    _same_shape(first, second)
    first, mask = _tokens(first, mask)
    second, _ = _tokens(second, mask)
    log_p, log_q = F.log_softmax(first, -1), F.log_softmax(second, -1)
    divergence = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1) / 2
    return _coefficient("alpha", alpha) * _mean(divergence, mask)


def _coefficient(name: str, value: float) -> float:
    if not value >= 0:
        raise invalid(f"{name} must be a number of 0 or more", value, "Give 0 for no penalty.")
    return value


def _same_shape(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise invalid(
            "both passes must give logits of one shape",
            (tuple(first.shape), tuple(second.shape)),
            "Give both passes the same input.",
        )


def _tokens(x: Tensor | PackedSequence, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return features (..., F), in float32 at least and 0 at padding, and the checked mask."""
    data = x.data if isinstance(x, PackedSequence) else x
    data = data.to(torch.promote_types(data.dtype, torch.float32))
    if mask is None:
        return data, None
    if isinstance(x, PackedSequence) or mask.dtype != torch.bool or mask.shape != data.shape[:-1]:
        raise invalid(
            f"mask must be bool of shape {tuple(data.shape[:-1])}, and goes with padded tensors",
            f"{mask.dtype} of shape {tuple(mask.shape)}",
            "Give True at real tokens; a PackedSequence has no others.",
        )
    return torch.where(mask.unsqueeze(-1), data, 0), mask


def _neighbours(values: Tensor, of: Tensor | PackedSequence, batch_first: bool) -> tuple[Tensor, Tensor]:
    """Return the values at t and at t + 1 of all pairs of steps, laid out as `of`."""
    if isinstance(of, PackedSequence):
        sizes = of.batch_sizes
        later = torch.arange(int(sizes[0]), len(values), device="cpu")
        earlier = later - torch.repeat_interleave(sizes[:-1], sizes[1:])
        return values[earlier.to(values.device)], values[later.to(values.device)]
    axis = 1 if batch_first and of.dim() > 2 else 0
    pairs = max(values.shape[axis] - 1, 0)
    return values.narrow(axis, 0, pairs), values.narrow(axis, values.shape[axis] - pairs, pairs)


def _pairs(mask: Tensor | None, of: Tensor | PackedSequence, batch_first: bool) -> Tensor | None:
    if mask is None:
        return None
    before, after = _neighbours(mask, of, batch_first)
    return before & after


def _distance(first: Tensor, second: Tensor, mask: Tensor | None) -> Tensor:
    _same_shape(first, second)
    first, mask = _tokens(first, mask)
    second, _ = _tokens(second, mask)
    return _mean((first - second).square().mean(-1), mask)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over tokens; 0 where there is none."""
    if mask is None:
        return values.sum() / max(values.numel(), 1)
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)
