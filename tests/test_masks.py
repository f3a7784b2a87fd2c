"""The random numbers: against published vectors, and their independence of everything but the key and the index."""

from __future__ import annotations

import math

import pytest
import torch

import recurdrop as rd
from recurdrop.masks import draw_key
from recurdrop.philox import _blocks, keep_bits, normals, philox

# Random123's known answers for philox4x32-10: counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def integers(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_published_vectors(counter: str, key: str, result: str, as_tensor: bool) -> None:
    given = [torch.tensor([value, value]) for value in integers(counter)]
    keys = [torch.tensor(k) for k in integers(key)] if as_tensor else integers(key)
    assert [out.tolist() for out in philox(given, keys)] == [[value, value] for value in integers(result)]


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox in Python's own integers."""
    for _ in range(10):
        high, low = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [
            (low >> 32) ^ counter[1] ^ key[0],
            low & 0xFFFFFFFF,
            (high >> 32) ^ counter[3] ^ key[1],
            high & 0xFFFFFFFF,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def test_every_element_is_its_own_counter() -> None:
    key, stream, sizes = 0x1234_5678_9ABC_DEF0, 3 | 2 << 8 | 1 << 16, (3, 2, 4, 7)
    bits = keep_bits(torch.tensor(key), stream, sizes, 1 << 31)
    for t in range(3):
        for b in range(2):
            for g in range(4):
                for u in range(7):
                    counter = [u // 4, b, t, stream | g << 20]
                    value = plain_philox(counter, [key & 0xFFFFFFFF, key >> 32])[u % 4]
                    assert bits[t, b, g, u].item() == (value >= 1 << 31)


def test_normals_come_from_pairs_of_the_same_integers() -> None:
    key, stream = 99, 5
    found = normals(torch.tensor(key), stream, (1, 1, 1, 4), 0.0, 1.0, torch.float64).flatten().tolist()
    u = [(v + 0.5) / 2**32 for v in plain_philox([0, 0, 0, stream], [key, 0])]
    expected = []
    for a, b in ((u[0], u[1]), (u[2], u[3])):
        radius = math.sqrt(-2 * math.log(a))
        expected += [radius * math.cos(2 * math.pi * b), radius * math.sin(2 * math.pi * b)]
    assert found == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("sizes", [(2, 3, 1, 0), (2, 0, 1, 5), (0, 3, 1, 5)])
def test_streams_without_elements(sizes: tuple[int, ...]) -> None:
    assert all(out.numel() == 0 for _, outputs in _blocks(torch.tensor(7), 1, sizes) for out in outputs)
    assert keep_bits(torch.tensor(7), 1, sizes, 1 << 31).shape == sizes


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    key = torch.tensor(7)
    whole = keep_bits(key, 1, (9, 5, 3, 50), 1 << 31)
    monkeypatch.setattr("recurdrop.philox._BLOCK", 40)
    assert torch.equal(whole, keep_bits(key, 1, (9, 5, 3, 50), 1 << 31))


def test_a_shorter_smaller_or_narrower_draw_is_a_part_of_a_larger() -> None:
    key = torch.tensor(123456789)
    large = keep_bits(key, 2, (9, 8, 1, 33), 1 << 31)
    assert torch.equal(keep_bits(key, 2, (4, 3, 1, 9), 1 << 31), large[:4, :3, :, :9])


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.25, 0.999, 1.0])
def test_thresholds_at_the_edges(p: float) -> None:
    bits = keep_bits(torch.tensor(5), 0, (50, 10, 1, 100), round(p * 2**32))
    assert abs(1 - bits.double().mean().item() - p) <= 5 * math.sqrt(p * (1 - p) / 50_000)
    assert p not in (0.0, 1.0) or bits.all() == (p == 0.0) == bits.any()


def test_neighbours_are_independent() -> None:
    """Along each axis, and between streams that differ in one field, equal bits are as frequent as unequal ones."""
    key, n = torch.tensor(17), 30 * 30 * 4 * 30
    base = keep_bits(key, 0, (31, 31, 4, 31), 1 << 31)
    shifts = [base[1:, 1:, :, 1:] == base[:-1, 1:, :, 1:], base[1:, 1:, :, 1:] == base[1:, :-1, :, 1:]]
    shifts += [base[1:, 1:, :, 1:] == base[1:, 1:, :, :-1], base[:, :, 1:] == base[:, :, :-1]]
    others = [keep_bits(key, 1 << shift, (31, 31, 4, 31), 1 << 31) == base for shift in (0, 1, 8, 9, 16, 24, 25)]
    others.append(keep_bits(torch.tensor(18), 0, (31, 31, 4, 31), 1 << 31) == base)
    others.append(keep_bits(torch.tensor(17 + 2**40), 0, (31, 31, 4, 31), 1 << 31) == base)
    for equal in shifts + others:
        assert abs(equal.double().mean().item() - 0.5) < 5 * 0.5 / math.sqrt(n / 2)


def test_the_key_is_one_integer_of_the_default_or_a_given_generator() -> None:
    torch.manual_seed(4)
    a = draw_key()
    torch.manual_seed(4)
    expected = torch.randint(2**63 - 1, ())
    assert a == expected
    assert draw_key(torch.Generator().manual_seed(4)) == expected
    assert draw_key() != draw_key()


def test_noise_at_one_site_never_reshuffles_another() -> None:
    few, many = rd.Zoneout(c=0.3, h=0.2), [rd.Locked(output=0.4), rd.Zoneout(c=0.3, h=0.2), rd.WeightDrop(0.1)]
    a, b = (
        rd.LSTM(3, 8, noise=n).sample_masks(5, 4, generator=torch.Generator().manual_seed(0))[0] for n in (few, many)
    )
    assert torch.equal(a.zone_h, b.zone_h)
    assert torch.equal(a.zone_c, b.zone_c)


def test_multipliers_of_one_site_multiply_with_masks_of_their_own() -> None:
    one = [rd.Dropout(0.5), rd.Dropout(0.5)]
    (masks,) = rd.GRU(3, 60, noise=one).sample_masks(30, 20)
    values, counts = masks.output.unique(return_counts=True)
    assert values.tolist() == [0.0, 4.0]
    share = counts[1].item() / masks.output.numel()
    assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / masks.output.numel())


def test_a_tied_mask_multiplies_an_untied_one() -> None:
    noise = [rd.Variational(recurrent=0.5, tied=False), rd.Gaussian(0.1, site="recurrent", per="sequence")]
    (masks,) = rd.GRU(3, 6, noise=noise).sample_masks(5, 4, generator=torch.Generator().manual_seed(0))
    (first,) = rd.GRU(3, 6, noise=noise[0]).sample_masks(5, 4, generator=torch.Generator().manual_seed(0))
    ratio = masks.recurrent / first.recurrent
    assert masks.recurrent.shape == (1, 4, 3, 6)
    for g in range(1, 3):
        both = ratio[:, :, g].isfinite() & ratio[:, :, 0].isfinite()
        assert torch.allclose(ratio[:, :, g][both], ratio[:, :, 0][both])


@pytest.mark.parametrize(
    ("noise", "site", "names"),
    [
        ([rd.Zoneout(h=0.1), rd.Zoneout(h=0.2)], "zone_h", "Zoneout and Zoneout"),
        ([rd.WeightDrop(), rd.AWD()], "weight_hh", "WeightDrop and AWD"),
        ([rd.StateReset(), rd.StateReset()], "state", "StateReset and StateReset"),
        ([rd.HDetach(), rd.HDetach()], "detach", "HDetach and HDetach"),
    ],
)
def test_sites_that_do_not_combine(noise: list, site: str, names: str) -> None:
    with pytest.raises(ValueError, match=f"only one method may act at the {site} site; got {names}"):
        rd.GRU(3, 4, noise=noise)


def test_dropout_argument_beside_noise() -> None:
    made = rd.LSTM(3, 60, 2, dropout=0.3, noise=rd.Locked(between=0.5))
    lower, upper = made.sample_masks(30, 20)
    assert upper.output is None
    assert {round(v, 5) for v in lower.output.unique().tolist()} == {0.0, round(1 / 0.7 / 0.5, 5)}
    locked = (lower.output == 0).all(0)
    share = locked.double().mean().item()
    assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(locked.numel())
    made.dropout = 0.0
    assert made.sample_masks(30, 20)[0].output.shape == (1, 20, 60)
