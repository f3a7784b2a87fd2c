"""Tests of the tests: a deliberate mistake for each oracle, which must turn it red."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import test_bfloat16
import test_native
import test_normals
import test_rnndrop
import test_variational
import test_zoneout
import torch

import recurdrop as rd
import test_masks as test_random
from recurdrop import masks as masks_module
from recurdrop import philox as philox_module
from recurdrop.nn import base, sequences
from recurdrop.ops import gru_loop, lstm_loop, native, outside, product, reference
from recurdrop.ops.native import library, operators
from recurdrop.plan import Noise
from recurdrop.sites import SITES, Masks
from recurdrop.testing import BackendConformance, MethodConformance
from recurdrop.testing.backends import mask, problem

Patch = pytest.MonkeyPatch


class Zoneout(MethodConformance):
    method = rd.Zoneout(c=0.4, h=0.3)
    shapes = {"zone_h": "T B H", "zone_c": "T B H"}
    evaluation = {"zone_h": 0.3, "zone_c": 0.4}


class Locked(MethodConformance):
    method = rd.Locked(input=0.4, output=0.4)
    shapes = {"input": "1 B I", "output": "1 B H"}


class WeightDrop(MethodConformance):
    method = rd.WeightDrop(0.4)
    shapes = {"weight_hh": "R C"}


class Variational(MethodConformance):
    method = rd.Variational(recurrent=0.4)
    shapes = {"recurrent": "1 B H"}


class Eager(BackendConformance):
    backend = "eager"


class Native(BackendConformance):
    backend = "native"


def swap_gates(patch: Patch) -> None:
    right = lstm_loop.forward
    patch.setattr(lstm_loop, "forward", lambda loop: right(loop._replace(x=loop.x.roll(loop.x.shape[2] // 4, 2))))


def drop_a_site(patch: Patch) -> None:
    right = lstm_loop.forward
    patch.setattr(lstm_loop, "forward", lambda loop: right(loop._replace(zone_c=None)))
    compiled = native.compute
    less = lambda call, save: compiled(call._replace(masks=call.masks._replace(zone_c=None)), save=save)  # noqa: E731
    patch.setattr(native, "compute", less)


def shift_a_mask_in_time(patch: Patch) -> None:
    right = product.rows
    moved = lambda mask, time: right(None if mask is None else mask.roll(1, 0), time)  # noqa: E731
    patch.setattr(lstm_loop, "rows", moved)


def scale_a_gradient(patch: Patch) -> None:
    right = gru_loop.backward
    wrong = lambda *a: (lambda g: g._replace(w_hh=g.w_hh * (1 + 1e-6)))(right(*a))  # noqa: E731
    patch.setattr(gru_loop, "backward", wrong)


def forget_the_initial_state(patch: Patch) -> None:
    right = lstm_loop.backward
    patch.setattr(lstm_loop, "backward", lambda *a: (lambda g: g._replace(h0=g.h0 * 0))(right(*a)))


def mask_the_stored_state(patch: Patch) -> None:
    def forward(self, t, h, base, out):
        if self.masks[t] is not None:
            h.mul_(self.masks[t])
        torch.mm(h, self.weight.t(), out=out)
        return out if base is None else out.add_(base)

    patch.setattr(product.RecurrentProduct, "forward", forward)
    patch.setattr(native, "supports", lambda problem: "the mistake is in the eager loop")


def build_h_from_the_zoned_cell(patch: Patch) -> None:
    def step(x, state, w, m):
        h, c = state
        a = reference._gates(x, w.w_ih, w.b_ih, m.input, 4) + reference._gates(h, w.w_hh, w.b_hh, m.recurrent, 4)
        i, f, g, o = a.chunk(4, -1)
        c_new = reference._blend(m.zone_c, c, f.sigmoid() * c + i.sigmoid() * g.tanh())
        return reference._blend(m.zone_h, h, o.sigmoid() * c_new.tanh()), c_new

    patch.setitem(reference._STEPS, "LSTM", step)


def scale_unscaled_bits(patch: Patch) -> None:
    right = rd.RNNDrop.plan
    patch.setattr(rd.RNNDrop, "plan", lambda self, w: tuple(_changed(n, scaled=True) for n in right(self, w)))


def _changed(noise: Noise, **fields: object) -> Noise:
    return Noise(**{**vars(noise), **fields})


def never_resample(patch: Patch) -> None:
    patch.setattr(base, "draw_key", lambda generator=None: torch.tensor(7))


def draw_from_a_counter(patch: Patch) -> None:
    calls = iter(range(10**6))
    patch.setattr(base, "draw_key", lambda generator=None: torch.tensor(next(calls)))


def share_nothing(patch: Patch) -> None:
    patch.setattr(Noise, "axes", property(lambda self: tuple(a for a in ("time", "batch", "unit"))))


def drop_too_much(patch: Patch) -> None:
    right = masks_module.keep_bits
    patch.setattr(masks_module, "keep_bits", lambda key, s, sizes, t: right(key, s, sizes, round(t * 1.05)))


def ignore_the_direction(patch: Patch) -> None:
    right = masks_module._stream
    patch.setattr(masks_module, "_stream", lambda noise, layer, direction, source: right(noise, layer, 0, source))


def draw_at_evaluation(patch: Patch) -> None:
    right = base.constants
    patch.setattr(base, "constants", lambda *a, **k: (torch.rand(1), right(*a, **k))[1])


def switch_off_at_evaluation(patch: Patch) -> None:
    patch.setattr(base, "constants", lambda *a, **k: Masks())


def destroy_the_weight(patch: Patch) -> None:
    def effective(weight, mask):
        if mask is not None:
            weight.data.mul_(mask)
        return weight * 1

    patch.setattr(outside, "effective", effective)


def freeze_the_weight(patch: Patch) -> None:
    patch.setattr(outside, "effective", lambda w, mask: w if mask is None else w.detach() * mask)


def sort_the_rows(patch: Patch) -> None:
    def read(input, lengths, batch_first):
        x, counts, layout = sequences.read(input, lengths, batch_first)
        return (x, counts, layout) if counts is None else (x.flip(1), counts.flip(0), layout)

    patch.setattr(base, "read", read)


def hold_no_state(patch: Patch) -> None:
    from recurdrop.ops import eager

    patch.setattr(eager, "_hold", lambda zone, past: zone)


def share_over_time(patch: Patch) -> None:
    def described(mask, dtype):
        found, held = right(mask, dtype)
        found.time = 0
        return found, held

    right = operators._mask
    patch.setattr(operators, "_mask", described)


def swap_two_sites(patch: Patch) -> None:
    right = native.apply
    patch.setattr(native, "apply", lambda *a: right(*a[:11], a[12], a[11], *a[13:]))


def forget_the_lengths(patch: Patch) -> None:
    right = native.apply
    patch.setattr(native, "apply", lambda *a: right(*a[:16], None, *a[17:]))


def widen_bfloat16(patch: Patch) -> None:
    patch.setattr(native, "widens", lambda dtype: True)


def bfloat16_is_not_widened() -> None:
    with Patch.context() as patch:
        test_bfloat16.test_auto_computes_bfloat16_as_it_is(patch)


def change_a_round(patch: Patch) -> None:
    patch.setattr(philox_module, "_WEYL", (0x9E3779B9, 0xBB67AE86))


def pair_an_integer_with_itself(patch: Patch) -> None:
    right = philox_module._blocks
    patch.setattr(philox_module, "_blocks", lambda *a: ((rows, (o[0], o[0], o[2], o[2])) for rows, o in right(*a)))


def read_another_stream(patch: Patch) -> None:
    core = library.CORE
    assert core is not None
    other = SimpleNamespace(recurdrop_normals=lambda key, stream, *rest: core.recurdrop_normals(key, stream ^ 1, *rest))
    patch.setattr(library, "CORE", other)


def every_site(mode: str, backend: type[BackendConformance] = Eager) -> None:
    """The smallest case of the backend's suite with every site in it."""
    sites = [s for s in SITES if mode in SITES[s].cells]
    size = (4, 3, 3, 5, 0)
    masks = Masks(**{s: mask(s, mode, size, (), False, False) for s in sites})
    assert backend().compare(problem(mode, size, masks, ragged=backend is Native))


def compiled_normals() -> None:
    test_native.test_compiled_normal_numbers_are_those_of_the_generator("any", None, (3, 5, 2, 7))


MUTATIONS: list[tuple[Callable[[Patch], None], Callable[[], None]]] = [
    (swap_gates, lambda: Zoneout().test_backends_agree_with_the_reference("LSTM", "padded")),
    (swap_gates, lambda: every_site("LSTM")),
    (drop_a_site, lambda: Zoneout().test_backends_agree_with_the_reference("LSTM", "padded")),
    (drop_a_site, test_zoneout.test_h_is_built_from_the_unzoned_cell),
    (shift_a_mask_in_time, lambda: every_site("LSTM")),
    (scale_a_gradient, lambda: Variational().test_backends_agree_with_the_reference("GRU", "two layers")),
    (forget_the_initial_state, lambda: Variational().test_backends_agree_with_the_reference("LSTM", "bidirectional")),
    (mask_the_stored_state, lambda: test_variational.test_gru_interpolates_with_the_unmasked_state(True)),
    (mask_the_stored_state, lambda: Variational().test_backends_agree_with_the_reference("GRU", "packed")),
    (build_h_from_the_zoned_cell, lambda: every_site("LSTM")),
    (scale_unscaled_bits, lambda: test_rnndrop.test_by_hand(True)),
    (never_resample, lambda: Locked().test_noise_changes_the_result_in_training_only("RNN", "padded")),
    (never_resample, lambda: Locked().test_one_integer_makes_all_masks("GRU", "padded")),
    (draw_from_a_counter, lambda: Locked().test_checkpointing_repeats_the_masks("GRU")),
    (share_nothing, lambda: Locked().test_masks_have_the_promised_axes("GRU")),
    (drop_too_much, lambda: Zoneout().test_masks_follow_their_law("LSTM")),
    (ignore_the_direction, lambda: WeightDrop().test_layers_directions_and_seeds_differ("RNN")),
    (draw_at_evaluation, lambda: Zoneout().test_noise_changes_the_result_in_training_only("LSTM", "padded")),
    (switch_off_at_evaluation, lambda: Zoneout().test_evaluation_follows_the_rule("LSTM", "padded")),
    (destroy_the_weight, lambda: WeightDrop().test_parameters_learn_and_stay("GRU", "padded")),
    (freeze_the_weight, lambda: WeightDrop().test_parameters_learn_and_stay("GRU", "bidirectional")),
    (sort_the_rows, lambda: Locked().test_ragged_rows_are_the_callers("LSTM")),
    (hold_no_state, lambda: Variational().test_backends_agree_with_the_reference("GRU", "packed")),
    *(
        (mistake, lambda: every_site("LSTM", Native))
        for mistake in (share_over_time, swap_two_sites, forget_the_lengths)
        if native.missing() is None
    ),
    *([(read_another_stream, compiled_normals)] if native.missing() is None else []),
    (pair_an_integer_with_itself, lambda: test_normals.test_they_are_independent(test_normals.IN_TORCH)),
    (pair_an_integer_with_itself, lambda: test_normals.test_the_ends_of_the_range(test_normals.IN_TORCH, 67750675)),
    *(
        [
            (widen_bfloat16, bfloat16_is_not_widened),
            (forget_the_lengths, lambda: test_bfloat16.test_what_lies_past_an_end_reaches_no_result("GRU")),
        ]
        if library.has_bfloat16()
        else []
    ),
    (change_a_round, lambda: test_random.test_published_vectors(*test_random.KNOWN[0], as_tensor=False)),
]


@pytest.mark.parametrize(
    ("mutate", "oracle"), MUTATIONS, ids=[f"{m.__name__}-{i}" for i, (m, _) in enumerate(MUTATIONS)]
)
def test_a_mistake_is_seen(mutate: Callable[[Patch], None], oracle: Callable[[], None], monkeypatch: Patch) -> None:
    oracle()
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        oracle()


def raise_an_error(patch: Patch) -> None:
    """Stand for a mistake that is malformed: what it puts in cannot be called as the code calls it."""

    def forward(loop: object) -> object:
        raise RuntimeError("the size of tensor a must match the size of tensor b")

    patch.setattr(lstm_loop, "forward", forward)


def test_a_malformed_mistake_does_not_count_as_seen(monkeypatch: Patch) -> None:
    with pytest.raises(RuntimeError, match="the size of tensor a"):
        test_a_mistake_is_seen(raise_an_error, lambda: every_site("LSTM"), monkeypatch)
