"""The normal numbers, of PyTorch and compiled: their law, their independence, and the ends of their range."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from recurdrop import philox
from recurdrop.ops import native

missing = native.missing()
N = 1_000_000


class Draw(NamedTuple):
    """An implementation of `philox.normals`.

    Attributes:
        normals: the function.
        slack: absolute error for radius 1: PyTorch rounds the angle, and near a zero of its cosine that is all error.
    """

    normals: Callable[..., Tensor]
    slack: float


IN_TORCH = Draw(philox.normals_operator._init_fn, 1e-15)


@pytest.fixture(
    params=[
        pytest.param(IN_TORCH, id="torch"),
        pytest.param(
            Draw(torch.ops.recurdrop.normals, 0.0),
            id="native",
            marks=pytest.mark.skipif(missing is not None, reason=f"no native backend: {missing}"),
        ),
    ]
)
def draw(request: pytest.FixtureRequest) -> Draw:
    found: Draw = request.param
    return found


def million(draw: Draw, dtype: torch.dtype, stream: int = 3, key: int = 2**40 + 11) -> Tensor:
    return draw.normals(torch.tensor(key), stream, [2, 5, 1, N // 10], dtype).double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_their_law_is_the_normal(draw: Draw, dtype: torch.dtype) -> None:
    """Moments, the greatest distance of the distribution functions (Kolmogorov), and the tails."""
    z = million(draw, dtype).flatten()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        assert abs(z.pow(power).mean().item() - moment) < 4 * math.sqrt(variance / N), power
    steps = torch.arange(N + 1, dtype=torch.float64) / N
    expected = torch.special.ndtr(z.sort().values)
    assert torch.maximum(expected - steps[:-1], steps[1:] - expected).max() < 1.95 / math.sqrt(N)
    for far in (2.0, 3.0, 4.0, 4.5):
        for tail in (z > far, z < -far):
            p = math.erfc(far / math.sqrt(2)) / 2
            assert abs(tail.sum().item() - N * p) < 4 * math.sqrt(N * p), far


def test_they_are_independent(draw: Draw) -> None:
    """Within a block of four, between neighbours on each axis, streams and keys: no function of one tells the other."""
    z = million(draw, torch.float32)
    quads = z.reshape(-1, 4)
    pairs = [(quads[:, i], quads[:, j]) for i, j in itertools.combinations(range(4), 2)]
    pairs += [(z[..., 4:], z[..., :-4]), (z[:, 1:], z[:, :-1]), (z[1:], z[:-1])]
    pairs += [(z, million(draw, torch.float32, stream=3 ^ 1 << bit)) for bit in (0, 8, 16, 24)]
    pairs += [(z, million(draw, torch.float32, key=2**40 + other)) for other in (12, 11 + 2**33)]
    mean = math.sqrt(2 / math.pi)
    features: list[Callable[[Tensor], Tensor]] = [
        lambda x: x,
        lambda x: (x.square() - 1) / math.sqrt(2),
        lambda x: (x.abs() - mean) / math.sqrt(1 - mean**2),
    ]
    for (a, b), f, g in itertools.product(pairs, features, features):
        assert abs((f(a) * g(b)).mean().item()) < 4.5 / math.sqrt(a.numel())


# Keys whose first two integers in stream 0 lie at an end of the range of log, or beside an axis of the circle.
ENDS = {
    760393872: (0x00000001, 0x8FCCB585),
    67750675: (0xFFFFFFFE, 0xE09D0D02),
    1352247272: (0xFFFFFFFF, 0x49F193B2),
    1836991927: (0x00000000, 0x179DB721),
    293046734: (0x78CDD25B, 0x00000000),
    3653705236: (0x51EBA15C, 0x3FFFFFFF),
    1980432052: (0x6CA09899, 0x40000000),
    995596506: (0x38FA1F8C, 0xBFFFFFFF),
    454088803: (0x0B596CFA, 0xFFFFFFFF),
}


def exact(first: int, second: int) -> tuple[float, float, float]:
    """Radius, cosine and sine, each to the last digit: log from the nearer end, the angle from the nearest axis."""
    below = 2**32 - 1 - first
    log = math.log((first + 0.5) / 2**32) if first < 2**31 else math.log1p(-(below + 0.5) / 2**32)
    quarter, rest = divmod(second + 2**29, 2**30)
    x = (rest - 2**29 + 0.5) * 2 * math.pi / 2**32
    c, s = math.cos(x), math.sin(x)
    return math.sqrt(-2 * log), *[(c, s), (-s, c), (-c, -s), (s, -c)][quarter % 4]


@pytest.mark.parametrize("key", ENDS)
def test_the_ends_of_the_range(draw: Draw, key: int) -> None:
    counter = [torch.zeros(1, dtype=torch.int64) for _ in range(4)]
    assert tuple(int(out) for out in philox.philox(counter, (key, 0))[:2]) == ENDS[key]
    radius, cosine, sine = exact(*ENDS[key])
    for dtype, rounding in ((torch.float32, 7 * 2.0**-24), (torch.float64, 7 * 2.0**-53)):
        found = draw.normals(torch.tensor(key), 0, [1, 1, 1, 2], dtype).flatten().tolist()
        for value, expected in zip(found, (radius * cosine, radius * sine), strict=True):
            assert abs(value - expected) <= rounding * abs(expected) + draw.slack * radius


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float16, 2.0**-11), (torch.bfloat16, 2.0**-8)], ids=str)
def test_short_types_round_the_same_numbers(draw: Draw, dtype: torch.dtype, rounding: float) -> None:
    key, sizes = torch.tensor(6), [3, 2, 1, 70]
    found, precise = (
        draw.normals(key, 1, sizes, dtype),
        philox.normals_operator._init_fn(key, 1, sizes, torch.float64),
    )
    assert found.dtype == dtype
    assert ((found.double() - precise).abs() <= 1.01 * rounding * precise.abs() + 2.0**-25).all()


@pytest.mark.parametrize("compiled", [True, False])
def test_mean_and_deviation(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr(philox, "COMPILED", {})
    arguments = torch.tensor(7), 2, [3, 2, 1, 9]
    expected = 0.5 + 3 * philox.normals_operator._init_fn(*arguments, torch.float64)
    torch.testing.assert_close(philox.normals(*arguments, 0.5, 3.0, torch.float64), expected, rtol=1e-14, atol=5e-15)
