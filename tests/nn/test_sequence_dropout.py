"""LockedDropout, SpatialDropout1D and Dropout: what a mask is shared over, in every layout of the input."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from against_torch import BATCH, INPUT, TIME, UNSORTED, numbers
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import recurdrop as rd
from recurdrop.masks import draw_key
from recurdrop.philox import keep_bits

X = numbers(TIME, BATCH, INPUT)


def after(seed: int, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    torch.manual_seed(seed)
    return module(*args, **kwargs)


MODULES = [
    pytest.param(lambda p=0.4: rd.nn.LockedDropout(p), id="locked"),
    pytest.param(lambda p=0.4: rd.nn.SpatialDropout1D(p, batch_first=True), id="spatial"),
    pytest.param(lambda p=0.4: rd.nn.Dropout(p), id="dropout"),
    pytest.param(lambda p=0.4: rd.nn.Dropout(p, noise_shape=(None, 1, None)), id="noise_shape"),
]


def test_locked_mask_is_one_for_all_steps_and_differs_over_examples() -> None:
    module = rd.nn.LockedDropout(0.5)
    x = numbers(4, 6, 50)
    ratio = module(x) / x
    assert set(ratio.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(ratio, ratio[:1].expand_as(ratio))
    assert len(ratio[0].unique(dim=0)) == 6


def test_layout_is_named() -> None:
    x = numbers(4, 6, 50)
    expected = after(1, rd.nn.LockedDropout(0.5), x)
    for module in (rd.nn.LockedDropout(0.5, batch_first=True), rd.nn.SpatialDropout1D(0.5, batch_first=True)):
        assert torch.equal(after(1, module, x.transpose(0, 1)).transpose(0, 1), expected)
        wrong = after(1, module, x) / x
        assert not torch.equal(wrong, wrong[:1].expand_as(wrong))
    with pytest.raises(TypeError, match="batch_first"):
        rd.nn.SpatialDropout1D(0.5)


def test_locked_dropout_is_the_layers_locked() -> None:
    """The module and the site `input` of a layer are one operation, given one mask."""
    layer = rd.GRU(INPUT, 4, noise=rd.Locked(input=0.5), dtype=torch.float64)
    masks = layer.sample_masks(TIME, BATCH)
    expected, _ = layer(X, masks=masks)
    layer.noise = None
    found, _ = layer(rd.nn.LockedDropout(0.5)(X, mask=masks[0].input))
    # Two kernels of one recurrence: measured 2e-16.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


def test_unbatched_and_packed_are_the_padded_batch() -> None:
    module = rd.nn.LockedDropout(0.5)
    x = numbers(TIME, 3, 40)
    assert torch.equal(after(1, module, x[:, 0]), after(1, module, x[:, :1])[:, 0])
    padded = after(1, module, x)
    for lengths in (UNSORTED, (5, 4, 2)):
        packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
        found = after(1, module, packed)
        assert torch.equal(found.batch_sizes, packed.batch_sizes)
        back, counts = pad_packed_sequence(found)
        assert tuple(counts.tolist()) == lengths
        for b, n in enumerate(lengths):
            assert torch.equal(back[:n, b], padded[:n, b])


@pytest.mark.parametrize(
    "noise_shape", [None, (None, None, None), (None, 1, None), (None, None, 1), (1, None, None), (4, 1, 30), (1, 1, 1)]
)
def test_noise_shape_says_what_is_shared(noise_shape: Any) -> None:
    x = numbers(4, 5, 30)
    module = rd.nn.Dropout(0.5, noise_shape=noise_shape)
    mask = module.sample_mask(x)
    full = tuple(n if s is None else s for s, n in zip(noise_shape or (None,) * 3, x.shape, strict=True))
    assert mask.shape == full
    assert set(mask.unique().tolist()) <= {0.0, 2.0}
    for axis, size in enumerate(full):
        if size > 1:
            assert (mask != mask.roll(1, axis)).any(), f"axis {axis} is shared"
    torch.manual_seed(1)
    mask = module.sample_mask(x)
    assert torch.equal(after(1, module, x), x * mask)


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4), (2, 3, 4, 5), (0, 3), (3, 0)])
def test_dropout_takes_any_axes(shape: tuple[int, ...]) -> None:
    x = torch.ones(shape)
    y = rd.nn.Dropout(0.5)(x)
    assert y.shape == shape
    assert set(y.unique().tolist()) <= {0.0, 2.0}


def test_packed_elements_are_dropped_one_by_one() -> None:
    packed = pack_padded_sequence(torch.ones(TIME, 3, 200), torch.tensor(UNSORTED), enforce_sorted=False)
    data = rd.nn.Dropout(0.5)(packed).data
    assert len(data.unique(dim=0)) == len(data) == sum(UNSORTED)


@pytest.mark.parametrize("make", MODULES)
def test_evaluation_and_rate_0_are_identity_and_draw_nothing(make: Any) -> None:
    state = torch.get_rng_state()
    assert make().eval()(X) is X
    assert make(0.0)(X) is X
    assert make(0.0).sample_mask(X) is None
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("make", MODULES)
def test_training_takes_one_integer(make: Any) -> None:
    torch.manual_seed(1)
    draw_key()
    state = torch.get_rng_state()
    after(1, make(), X)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    make().sample_mask(X)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("make", MODULES)
def test_rate_1_gives_zeros_and_finite_gradients(make: Any) -> None:
    x = X.clone().requires_grad_()
    y = make(1.0)(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros_like(X))
    assert torch.equal(x.grad, torch.zeros_like(X))


@pytest.mark.parametrize("make", MODULES)
def test_mask_is_a_value(make: Any) -> None:
    module = make()
    torch.manual_seed(1)
    mask = module.sample_mask(X)
    x = X.clone().requires_grad_()
    y = after(1, module, x)
    assert torch.equal(y, X * mask)
    y.backward(numbers(*X.shape, seed=3))
    assert torch.equal(x.grad, numbers(*X.shape, seed=3) * mask)
    assert torch.equal(module.eval()(X, mask=mask), y.detach())
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(module.sample_mask(X, generator=generator), mask)
    assert not torch.equal(after(2, module.train(), X), y)
    with pytest.raises(ValueError, match=r"the mask of .* must broadcast to \(5, 3, 2\)"):
        module(X, mask=mask.expand(TIME, BATCH, INPUT)[..., :1].repeat(1, 1, 3))


def test_bits_are_those_of_the_grid() -> None:
    module = rd.nn.Dropout(0.3)
    torch.manual_seed(1)
    key = draw_key()
    expected = keep_bits(key, 255, (2 * 3, 4, 1, 5), round(0.3 * 2**32)).reshape(2, 3, 4, 5)
    assert torch.equal(after(1, module, torch.ones(2, 3, 4, 5)) != 0, expected)


@pytest.mark.parametrize("make", MODULES)
def test_keep_rate_and_mean(make: Any) -> None:
    p, n = 0.3, 40_000
    mask = make(p).sample_mask(torch.ones(1, 1, n))
    kept = (mask != 0).double().mean().item()
    assert abs(kept - (1 - p)) < 5 * math.sqrt(p * (1 - p) / n)
    assert mask.max().item() == pytest.approx(1 / (1 - p))


def test_half_precision_rounds_once() -> None:
    """1 / 0.9 is not a bfloat16; the product is rounded, not the scale."""
    x = numbers(TIME, BATCH, 400).to(torch.bfloat16)
    y = rd.nn.LockedDropout(0.1)(x)
    assert y.dtype == torch.bfloat16
    kept = y != 0
    assert torch.equal(y[kept], (x.float() / 0.9).to(torch.bfloat16)[kept])


def test_rate_is_an_attribute() -> None:
    module = rd.nn.LockedDropout(0.5)
    module.p = 0
    assert module(X) is X
    for wrong in (1.5, -0.1, float("nan"), True, "0.5", None):
        with pytest.raises(ValueError, match=r"p of LockedDropout must be a number in \[0, 1\]; got"):
            module.p = wrong
    assert str(module) == "LockedDropout(p=0, batch_first=False)"
    assert not module.state_dict()
    assert copy.deepcopy(module).p == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rd.nn.LockedDropout()(torch.ones(2)), r"LockedDropout takes .*; got \(2,\)"),
        (lambda: rd.nn.LockedDropout()(torch.ones(2, 2, 2, 2)), "Merge feature axes first"),
        (
            lambda: rd.nn.LockedDropout()(torch.ones(2, 2, dtype=torch.int64)),
            "floating-point numbers; got 'torch.int64'",
        ),
        (lambda: rd.nn.Dropout(noise_shape=(None, 0)), "noise_shape holds None and integers above 0"),
        (lambda: rd.nn.Dropout(noise_shape=(None, True)), "noise_shape holds None and integers above 0"),
        (lambda: rd.nn.Dropout(noise_shape=(None, 1))(X), r"the axes of noise_shape=\(None, 1\); got \(5, 3, 2\)"),
        (lambda: rd.nn.Dropout(noise_shape=(None, 2, None))(X), r"noise_shape=\(None, 2, None\); got \(5, 3, 2\)"),
        (
            lambda: rd.nn.Dropout(noise_shape=(None, 1))(pack_padded_sequence(X, torch.tensor([5, 5, 5]))),
            "padded tensors; got 'a PackedSequence'. Use LockedDropout",
        ),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_compiled_modules_draw_the_masks_of_eager() -> None:
    torch._dynamo.reset()
    words = rd.nn.EmbeddingDropout(nn.Embedding(9, 7), 0.5, per_example=True)
    unknown = rd.nn.WordDropout(0.5, unk=0, keep=(1,))
    locked, steps = rd.nn.LockedDropout(0.5), rd.nn.Dropout(0.5, noise_shape=(None, None, 1))

    def model(ids: Tensor) -> Tensor:
        return steps(locked(words(unknown(ids))))

    ids = torch.arange(40).reshape(10, 4) % 9
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.manual_seed(1)
    expected = [model(ids) for _ in range(2)]
    torch.manual_seed(1)
    found = [compiled(ids) for _ in range(2)]
    torch._dynamo.reset()
    assert all(map(torch.equal, found, expected))
    assert not torch.equal(*found)
