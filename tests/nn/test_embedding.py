"""EmbeddingDropout and WordDropout: a bit belongs to a word type, to all examples or to one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from against_torch import UNSORTED
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import recurdrop as rd
from recurdrop.masks import draw_key
from recurdrop.philox import keep_bits, keep_bits_at

V, E, T, B = 50, 3, 40, 6
IDS = torch.randint(V, (T, B), generator=torch.Generator().manual_seed(0))


def made(p: float = 0.5, **extra: Any) -> rd.nn.EmbeddingDropout:
    torch.manual_seed(0)
    return rd.nn.EmbeddingDropout(nn.Embedding(V, E, dtype=torch.float64), p, **extra)


def bits(mask: Tensor, ids: Tensor) -> list[dict[int, float]]:
    """The multiplier of each word type in each example (T, B); fails where equal tokens have different ones."""
    found: list[dict[int, float]] = []
    for b in range(ids.shape[1]):
        of_example: dict[int, float] = {}
        for word, value in zip(ids[:, b].tolist(), mask[:, b, 0].tolist(), strict=True):
            assert of_example.setdefault(word, value) == value, f"word {word} of example {b} has two bits"
        found.append(of_example)
    return found


def test_equal_tokens_of_a_batch_share_a_bit() -> None:
    found = bits(made().sample_mask(IDS), IDS)
    joined: dict[int, float] = {}
    for of_example in found:
        for word, value in of_example.items():
            assert joined.setdefault(word, value) == value
    assert set(joined.values()) == {0.0, 2.0}


def test_examples_have_bits_of_their_own() -> None:
    found = bits(made(per_example=True).sample_mask(IDS), IDS)
    common = set(found[0]) & set(found[1])
    assert {found[0][w] == found[1][w] for w in common} == {True, False}


@pytest.mark.parametrize("per_example", [False, True])
def test_result_is_the_dropped_matrix_looked_up(per_example: bool) -> None:
    """Against the naive way, which masks a matrix (V, E) for the batch or for each example."""
    module = made(0.3, per_example=per_example)
    torch.manual_seed(1)
    key = draw_key()
    rows = keep_bits(key, 255, (1, B, 1, V), round(0.3 * 2**32))[0, :, 0].double() / 0.7
    torch.manual_seed(1)
    found = module(IDS)
    weight = module.weight.detach().clone().requires_grad_()
    columns = [F.embedding(IDS[:, b], rows[b if per_example else 0][:, None] * weight) for b in range(B)]
    expected = torch.stack(columns, 1)
    # The same products in another order, and sums of up to 15 rows: measured 4e-16 of each value.
    torch.testing.assert_close(found, expected, rtol=2e-15, atol=0)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(module.weight.grad, weight.grad, rtol=2e-15, atol=0)


def test_single_bits_are_those_of_the_grid() -> None:
    key, stream = torch.tensor(0x1234_5678_9ABC_DEF0), 255
    grid = keep_bits(key, stream, (1, 5, 1, 33), 1 << 31)[0, :, 0]
    rows, units = torch.randint(5, (7, 40)), torch.randint(33, (7, 40))
    assert torch.equal(keep_bits_at(key, stream, rows, units, 1 << 31), grid[rows, units])
    far = keep_bits_at(key, stream, torch.zeros(1000, dtype=torch.int64), torch.arange(1000) + 10**9, 1 << 31)
    assert 400 < int(far.sum()) < 600
    assert keep_bits_at(key, stream, rows[:0], units[:0], 1 << 31).shape == (0, 40)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_single_bits_are_a_whole_operator() -> None:
    arguments = (draw_key(), 7, torch.arange(6).reshape(2, 3) % 2, torch.arange(6).reshape(2, 3), 2**31)
    torch.library.opcheck(torch.ops.recurdrop.keep_bits_at.default, arguments)


@pytest.mark.parametrize("per_example", [False, True])
def test_layouts(per_example: bool) -> None:
    module = made(per_example=per_example)

    def run(ids: Any, batch_first: bool = False) -> Any:
        module.batch_first = batch_first
        torch.manual_seed(1)
        return module(ids)

    padded = run(IDS)
    assert torch.equal(run(IDS.T, True).transpose(0, 1), padded)
    assert torch.equal(run(IDS[:, 0]), padded[:, 0])
    assert torch.equal(run(IDS.int()), padded)
    lengths = torch.tensor(UNSORTED)
    packed = pack_padded_sequence(IDS[:5, :3], lengths, enforce_sorted=False)
    back, _ = pad_packed_sequence(run(packed))
    for b, n in enumerate(UNSORTED):
        assert torch.equal(back[:n, b], padded[:n, b])


def test_weight_is_the_embeddings_and_a_tied_decoder_sees_every_row() -> None:
    module = made(1.0)
    before = module.weight.detach().clone()
    assert module.weight is module.embedding.weight
    decoder = nn.Linear(E, V, bias=False, dtype=torch.float64)
    decoder.weight = module.weight
    assert [name for name, _ in module.named_parameters()] == ["embedding.weight"]
    rows = module(IDS)
    assert not rows.any()
    x = torch.randn(4, E, dtype=torch.float64)
    assert torch.equal(decoder(x), x @ before.T)
    assert torch.equal(module.weight, before)
    (rows.sum() + decoder(x).sum()).backward()
    assert torch.allclose(module.weight.grad, x.sum(0).expand(V, E))


def test_options_of_the_embedding_are_kept() -> None:
    def run(**options: Any) -> tuple[Tensor, Tensor, Tensor]:
        torch.manual_seed(0)
        module = rd.nn.EmbeddingDropout(nn.Embedding(V, E, dtype=torch.float64, **options), 0.5)
        torch.manual_seed(1)
        rows = module(IDS)
        rows.sum().backward()
        return module.weight.detach(), rows.detach(), module.weight.grad

    weight, rows, gradient = run()
    _, _, sparse = run(sparse=True)
    assert sparse.is_sparse and torch.equal(sparse.to_dense(), gradient)
    padded_weight, padded, padded_gradient = run(padding_idx=7)
    assert not padded_weight[7].any() and not padded[IDS == 7].any() and not padded_gradient[7].any()
    counts = torch.bincount(IDS.flatten(), minlength=V)[:, None]
    _, _, scaled = run(scale_grad_by_freq=True)
    # One division more: measured 3e-16 of each value.
    torch.testing.assert_close(scaled * counts, gradient, rtol=1e-15, atol=0)
    short, found, _ = run(max_norm=0.5)
    assert (short[IDS].norm(dim=-1) < 0.5 + 1e-6).all() and (weight[IDS].norm(dim=-1) > 0.5).any()
    assert torch.equal(found != 0, rows != 0)
    assert torch.equal(found[found != 0], (2 * short[IDS])[found != 0])


def test_no_noise() -> None:
    state = torch.get_rng_state()
    for module in (made(0.0), made().eval()):
        torch.set_rng_state(state)
        assert torch.equal(module(IDS), F.embedding(IDS, module.weight))
        assert torch.equal(torch.get_rng_state(), state)
    module = made().eval()
    mask = module.sample_mask(IDS)
    assert mask.shape == (T, B, 1)
    assert torch.equal(module(IDS, mask=mask), F.embedding(IDS, module.weight) * mask)


def test_keep_rate_of_types() -> None:
    n, p = 20_000, 0.1
    module = rd.nn.EmbeddingDropout(nn.Embedding(n, 1), p)
    kept = (module.sample_mask(torch.arange(n)) != 0).double().mean().item()
    assert abs(kept - (1 - p)) < 5 * math.sqrt(p * (1 - p) / n)


# WordDropout


def test_each_token_is_replaced_on_its_own() -> None:
    ids = torch.full((100, 200), 5)
    module = rd.nn.WordDropout(0.25, unk=1)
    out = module(ids)
    assert out.dtype == ids.dtype
    assert set(out.unique().tolist()) == {1, 5}
    rate = (out == 1).double().mean().item()
    assert abs(rate - 0.25) < 5 * math.sqrt(0.25 * 0.75 / ids.numel())
    assert len((out == 1).unique(dim=0)) == 100
    assert len((out == 1).unique(dim=1)[0]) == 200


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_tokens_bit_depends_on_no_other_size(batch_first: bool) -> None:
    module = rd.nn.WordDropout(0.5, unk=V, batch_first=batch_first)

    def drawn(ids: Any, seed: int = 3) -> Tensor:
        return module.sample_mask(ids, generator=torch.Generator().manual_seed(seed))

    def mask_of(time: int, batch: int) -> Tensor:
        mask = drawn(IDS[:time, :batch].T if batch_first else IDS[:time, :batch])
        return mask.T if batch_first else mask

    whole = mask_of(T, B)
    assert len(whole.unique(dim=0)) > T // 2 and len(whole.unique(dim=1).T) == B
    for time, batch in ((5, B), (T, 2), (3, 1), (0, B), (T, 0)):
        assert torch.equal(mask_of(time, batch), whole[:time, :batch])
    assert torch.equal(drawn(IDS[:, 0]), whole[:, 0])
    lengths = torch.tensor([3, 5, 1, 5, 2, 4])
    mask = drawn(packed := pack_padded_sequence(IDS, lengths, enforce_sorted=False))
    padded, _ = pad_packed_sequence(packed._replace(data=mask))
    for b, length in enumerate(lengths.tolist()):
        assert torch.equal(padded[:length, b], whole[:length, b])
    assert drawn(torch.ones(4, 3, 2, 5, dtype=torch.int64)).shape == (4, 3, 2, 5)
    assert drawn(torch.tensor(4)).shape == ()


def test_each_type_of_an_example_is_replaced_as_one() -> None:
    module = rd.nn.WordDropout(0.5, unk=V, per="type")
    torch.manual_seed(1)
    out = module(IDS)
    kept = bits((out == IDS).double().unsqueeze(-1), IDS)
    assert {kept[0][w] == kept[1][w] for w in set(kept[0]) & set(kept[1])} == {True, False}
    assert set(out[out != IDS].tolist()) == {V}
    module.batch_first = True
    torch.manual_seed(1)
    assert torch.equal(module(IDS.T).T, out)
    same = made(per_example=True)
    torch.manual_seed(1)
    assert torch.equal(same.sample_mask(IDS)[..., 0] != 0, out == IDS)


@pytest.mark.parametrize("per", ["token", "type"])
def test_kept_numbers_and_no_noise(per: str) -> None:
    module = rd.nn.WordDropout(1.0, unk=3, per=per, keep=(0, 2))
    expected = torch.where((IDS == 0) | (IDS == 2), IDS, 3)
    assert torch.equal(module(IDS), expected)
    packed = pack_padded_sequence(IDS[:5, :3], torch.tensor(UNSORTED), enforce_sorted=False)
    assert torch.equal(module(packed).data, torch.where((packed.data == 0) | (packed.data == 2), packed.data, 3))
    mask = module.sample_mask(IDS)
    module.eval()
    assert module(IDS) is IDS
    assert torch.equal(module(IDS, mask=mask), expected)
    module.p = 0
    assert module.train()(IDS) is IDS


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rd.nn.EmbeddingDropout(nn.Linear(2, 3)), "wraps an nn.Embedding; got 'Linear'"),
        (
            lambda: rd.nn.EmbeddingDropout(nn.Embedding(2, 3), 1.5),
            r"p of EmbeddingDropout must be a number in \[0, 1\]",
        ),
        (lambda: made(per_example=True)(IDS[None]), r"takes \(T, B\), \(B, T\) or \(T,\); got \(1, 40, 6\)"),
        (lambda: made()(IDS, mask=torch.ones(T, B)), r"must broadcast to \(40, 6, 3\); got \(40, 6\)"),
        (lambda: rd.nn.WordDropout(0.5, unk=0, per="word"), "must be 'token' or 'type'; got 'word'"),
        (lambda: rd.nn.WordDropout(0.5, unk=0, per="type")(IDS[None]), "WordDropout with bits of each example"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_texts() -> None:
    assert "p=0.5, per_example=True, batch_first=False" in str(made(per_example=True))
    assert str(rd.nn.WordDropout(0.5, unk=1)) == "WordDropout(p=0.5, unk=1, per='token', keep=(), batch_first=False)"
