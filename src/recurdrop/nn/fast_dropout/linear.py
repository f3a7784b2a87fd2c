"""A linear layer behind dropout, by moments."""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

from torch import Tensor, addcmul, nn
from torch.nn import functional

from recurdrop.errors import invalid
from recurdrop.methods.base import real
from recurdrop.nn.fast_dropout.moments import Moments, as_moments

Scaling = Literal["classic", "inverted"]


def check_scaling(scaling: str) -> Scaling:
    """Return the name if it is one.

    Raises:
        ValueError: it is none.
    """
    if scaling in get_args(Scaling):
        return cast(Scaling, scaling)
    raise invalid("scaling must be 'classic' or 'inverted'", scaling, "Choose one of them.")


def factors(weight: Tensor, p: float, scaling: Scaling) -> tuple[Tensor, Tensor]:
    """Return the matrices that take μ to the mean, and s² + p μ² to the variance, of W (x ⊙ m).

    They are q W and q W² for bits m that are 1 with probability q = 1 - p; for m / q, W and W² / q. p = 1 gives zeros.
    """
    q = 1 - p
    if scaling == "classic" or q == 0:
        return weight * q, weight.square() * q
    return weight, weight.square() / q


def spread(x: Moments, p: float) -> Tensor:
    """Return s² + p μ², which is the variance of x ⊙ m over q."""
    return addcmul(x.variance, x.mean, x.mean, value=p)


def linear(x: Moments, weight: Tensor, bias: Tensor | None, p: float, scaling: Scaling = "classic") -> Moments:
    """Return the moments of W (x ⊙ m) + b, exactly: q W μ + b, and (W ⊙ W) (q s² + q p μ²), q = 1 - p.

    With "inverted" scaling, m is divided by q: W μ + b, and (W ⊙ W) (s² + p μ²) / q.

    Args:
        x: (..., I).
        weight: W (O, I).
        bias: b (O,), or None.
        p: the probability to drop.
        scaling: "classic" for bits, "inverted" for bits over q.
    """
    for_mean, for_variance = factors(weight, p, scaling)
    return Moments(functional.linear(x.mean, for_mean, bias), functional.linear(spread(x, p), for_variance))


class FastDropoutLinear(nn.Linear):
    """A linear layer behind dropout, with mean and variance in place of masks.

    Equation:
        y = W (x ⊙ m) + b, the bits m 0 with probability p = 1 - q: mean q W μ + b, variance (W ⊙ W) (q s² + q p μ²).
        Exact if the x are independent; their law does not matter.
    Shared over:
        Nothing: bits are fresh wherever x is used.
    Evaluation:
        The same computation. `to_torch` gives the mean alone.
    Source:
        Wang & Manning 2013, "Fast dropout training", ICML. p = 0.5 before the output layer in Bayer et al. 2013,
        arXiv:1311.0701.

    Parameters are those of `nn.Linear`, and so is the `state_dict`. The softmax of normal numbers has no moments in
    closed form: take that of the mean; `recurdrop.nn.fast_dropout.sigmoid` has those of the logistic function.

    Args:
        *args: as for `nn.Linear`: in_features, out_features, bias=True, device=None, dtype=None.
        p: the probability to drop, in [0, 1]; as an attribute, may be reassigned at any time.
        scaling: "classic", the paper's, multiplies by m alone, so that a weight trained this way is 1 / q times that
            of a plain layer; "inverted" divides by q, as dropout elsewhere in this library.
        **kwargs: the same by name.

    Raises:
        ValueError: p outside [0, 1], or another scaling.
    """

    def __init__(self, *args: Any, p: float = 0.5, scaling: Scaling = "classic", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.p = p
        self.scaling = check_scaling(scaling)

    @property
    def p(self) -> float:
        """The probability to drop, in [0, 1]; may be reassigned at any time."""
        return self._p

    @p.setter
    def p(self, p: float) -> None:
        self._p = real(f"p of {type(self).__name__}", p, high=1)

    def forward(self, input: Tensor | tuple[Tensor, Tensor]) -> Moments:  # type: ignore[override]
        """Return the moments of the output (..., O), given a tensor (..., I) or the moments of one.

        Of packed moments, give those of their data: `Moments(y.mean.data, y.variance.data)`.

        Raises:
            ValueError: mean and variance of different shapes.
        """
        return linear(as_moments(input), self.weight, self.bias, self.p, self.scaling)

    def to_torch(self) -> nn.Linear:
        """Return the mean alone as a new `nn.Linear`: weights times q with classic scaling, variances dropped."""
        layer = nn.Linear(
            self.in_features, self.out_features, self.bias is not None, self.weight.device, self.weight.dtype
        )
        state = self.state_dict()
        layer.load_state_dict(state | {"weight": factors(state["weight"], self.p, self.scaling)[0]})
        return layer.train(self.training)

    def extra_repr(self) -> str:
        """Torch's, with rate and scaling."""
        return f"{super().extra_repr()}, p={self.p:g}, scaling={self.scaling!r}"
