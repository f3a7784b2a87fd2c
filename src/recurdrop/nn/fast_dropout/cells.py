"""One step of each cell with moments for numbers, and the loop over steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from recurdrop.nn.fast_dropout.linear import Scaling, factors, spread
from recurdrop.nn.fast_dropout.moments import Moments, Variance, add, interpolate, product, relu, sigmoid, tanh

State = tuple[Moments, ...]


class Recurrent(NamedTuple):
    """U (h' ⊙ m) + b' by moments, its matrices made once for all steps.

    Attributes:
        for_mean: (H, G·H).
        for_variance: (H, G·H).
        bias: (G·H,), or None.
        p: the probability to drop.
    """

    for_mean: Tensor
    for_variance: Tensor
    bias: Tensor | None
    p: float

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, p: float, scaling: Scaling) -> Recurrent:
        """Make it from U (G·H, H)."""
        for_mean, for_variance = factors(weight, p, scaling)
        return cls(for_mean.t(), for_variance.t(), bias, p)

    def __call__(self, h: Moments) -> Moments:
        """Return the moments of the product with h (B, H): two matrix products."""
        mean = h.mean @ self.for_mean if self.bias is None else torch.addmm(self.bias, h.mean, self.for_mean)
        return Moments(mean, spread(h, self.p) @ self.for_variance)


Step = Callable[[Moments, State, Recurrent, Variance], State]


def _split(x: Moments, *sizes: int) -> list[Moments]:
    means, variances = x.mean.split(sizes, -1), x.variance.split(sizes, -1)
    return [Moments(*parts) for parts in zip(means, variances, strict=True)]


def _rnn(
    phi: Callable[[Moments, Variance], Moments], x: Moments, state: State, recurrent: Recurrent, variance: Variance
) -> State:
    return (phi(add(x, recurrent(state[0])), variance),)


def _lstm(x: Moments, state: State, recurrent: Recurrent, variance: Variance) -> State:
    h, c = state
    width = h.mean.shape[-1]
    i_f, g, o = _split(add(x, recurrent(h)), 2 * width, width, width)
    i, f = _split(sigmoid(i_f, variance), width, width)
    c = add(product(f, c), product(i, tanh(g, variance)))
    return product(sigmoid(o, variance), tanh(c, variance)), c


def _gru(x: Moments, state: State, recurrent: Recurrent, variance: Variance) -> State:
    (h,) = state
    width = h.mean.shape[-1]
    x_rz, x_n = _split(x, 2 * width, width)
    h_rz, h_n = _split(recurrent(h), 2 * width, width)
    r, z = _split(sigmoid(add(x_rz, h_rz), variance), width, width)
    n = tanh(add(x_n, product(r, h_n)), variance)
    return (interpolate(n, h, z),)


STEPS: dict[str, Step] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN_TANH": partial(_rnn, tanh),
    "RNN_RELU": partial(_rnn, lambda x, variance: relu(x)),
}


def run(
    mode: str,
    x: Moments,
    state: State,
    recurrent: Recurrent,
    variance: Variance,
    *,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Moments, State]:
    """Run one layer in one direction.

    Args:
        mode: torch's name of the cell.
        x: (T, B, G·H), W x + b of every step.
        state: h_0 and, for LSTM, c_0, each (B, H).
        recurrent: the product with h'.
        variance: that of the logistic function.
        lengths: (B,), or None when every example has T steps.
        reverse: from the last step to the first.

    Returns:
        h of every step (T, B, H), 0 past an example's length, and the state after its last step.
    """
    step = STEPS[mode]
    # Taking x apart at once, since the gradient of x[t] is as large as x.
    steps = list(enumerate(zip(x.mean.unbind(), x.variance.unbind(), strict=True)))
    outputs = []
    for t, parts in reversed(steps) if reverse else steps:
        new = step(Moments(*parts), state, recurrent, variance)
        if lengths is None:
            state = new
            outputs.append(new[0])
            continue
        inside = (t < lengths)[:, None]
        outputs.append(Moments(*(torch.where(inside, part, 0) for part in new[0])))
        state = tuple(
            Moments(*(torch.where(inside, after, before) for after, before in zip(*pair, strict=True)))
            for pair in zip(new, state, strict=True)
        )
    if reverse:
        outputs.reverse()
    return Moments(*(torch.stack(parts) for parts in zip(*outputs, strict=True))), state
