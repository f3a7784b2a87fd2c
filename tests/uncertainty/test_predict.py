"""mc_predict: samples are those of single passes, and do not depend on how they are batched."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import recurdrop as rd
from recurdrop.masks import seeded, seeds
from recurdrop.nn.hold import held_by

T, B, F, C, S = 5, 3, 4, 6, 7
first = lambda returned: returned[0]  # noqa: E731
second = lambda returned: returned[1]  # noqa: E731


class Classifier(nn.Module):
    """Words (T, B) to (T, B, C) and the state, with noise in modules and layers."""

    def __init__(self, noise: Any = None, output: str = "logits", kind: Any = rd.LSTM) -> None:
        super().__init__()
        self.embedding = rd.nn.EmbeddingDropout(nn.Embedding(9, F), 0.3)
        self.locked = rd.nn.LockedDropout(0.3)
        self.rnn = kind(F, F, noise=noise or rd.Variational(recurrent=0.3, output=0.3))
        self.out = nn.Linear(F, C)
        self.output = output
        self.double()

    def forward(self, words: Tensor, state: Any = None) -> Any:
        y, state = self.rnn(self.locked(self.embedding(words)), state)
        y = self.out(3 * y)
        y = y.log_softmax(-1) if self.output == "log_probs" else y.softmax(-1) if self.output == "probs" else y
        return y, state


@pytest.fixture
def words() -> Tensor:
    return torch.randint(9, (T, B))


def predict(model: nn.Module, *args: Any, seed: int = 1, **options: Any) -> rd.Prediction:
    torch.manual_seed(seed)
    return rd.mc_predict(model, *args, **{"samples": S, "select": first, **options})


NOISES = [
    rd.Variational(input=0.3, recurrent=0.3, output=0.3),
    rd.Zoneout(c=0.5, h=0.3),
    rd.DropConnect(0.3, per_example=True),
    rd.TF1Variational(input=0.3),
    [rd.WeightDrop(0.5), rd.Locked(output=0.3)],
    rd.Mixout(0.3),
]


@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_samples_do_not_depend_on_passes(noise: Any, words: Tensor) -> None:
    model = Classifier(noise)
    whole = predict(model, words, carry=second)
    assert whole.std.min() > 0
    for chunk in (1, 3, 100):
        parts = predict(model, words, chunk=chunk, carry=second)
        # Measured 2e-16: products of other numbers of rows are summed in another order.
        for a, b in zip((*whole, *whole.state), (*parts, *parts.state), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=2e-15)
    assert not torch.equal(predict(model, words, seed=2).mean, whole.mean)


def test_batched_samples_are_single_passes_with_the_same_masks(words: Tensor) -> None:
    layer = rd.LSTM(F, 5, 2, noise=rd.Keras(dropout=0.3, recurrent_dropout=0.3), bidirectional=True).double()
    x = torch.randn(T, B, F, dtype=torch.float64)
    with rd.hold_masks(layer):
        samples = rd.mc_predict(layer, x, samples=S, select=first).samples
        each = seeds(S, seeded(held_by(layer).seed))
        for sample, seed in zip(samples, each, strict=True):
            alone = layer(x, masks=layer.sample_masks(T, B, generator=seeded(seed)))[0]
            torch.testing.assert_close(sample, alone, rtol=0, atol=1e-15)


def test_weight_drop_gives_each_sample_a_matrix() -> None:
    layer = rd.RNN(F, F, noise=rd.WeightDrop(0.5))
    samples = predict(layer, torch.randn(T, B, F)).samples
    assert len({float(sample.sum()) for sample in samples}) == S


def test_mean_and_deviation(words: Tensor) -> None:
    mean, std, samples = predict(Classifier(), words, output="logits")
    torch.testing.assert_close(mean, samples.mean(0), rtol=0, atol=1e-15)
    torch.testing.assert_close(std, samples.std(0), rtol=0, atol=1e-15)
    lean = predict(Classifier(), words, keep=False)
    assert lean.samples is None


def test_without_samples_the_moments_are_the_same(words: Tensor) -> None:
    model = Classifier()
    kept, lean = predict(model, words), predict(model, words, keep=False)
    assert torch.equal(kept.mean, lean.mean)
    assert torch.equal(kept.std, lean.std)
    with pytest.raises(ValueError, match="this needs the samples; got 'keep=False'"):
        lean.interval(0.5)


def test_probabilities_are_averaged_not_logarithms(words: Tensor) -> None:
    model = Classifier()
    by_output = {}
    for output in ("logits", "log_probs", "probs"):
        model.output = output
        by_output[output] = predict(model, words, output=output)
    mean, _, samples = by_output["logits"]
    torch.testing.assert_close(mean.sum(-1), torch.ones(T, B, dtype=torch.float64), rtol=0, atol=1e-15)
    for other in ("log_probs", "probs"):
        torch.testing.assert_close(by_output[other].mean, mean, rtol=0, atol=1e-15)
    # Jensen, for every token and class; and strictly, or log-probabilities were averaged.
    assert (mean >= samples.log().mean(0).exp()).all()
    assert (mean > samples.log().mean(0).exp() + 1e-6).any()


def test_jensen_is_equality_without_masks(words: Tensor) -> None:
    model = Classifier(rd.Variational())
    model.embedding.p = model.locked.p = 0
    with pytest.warns(UserWarning, match="makes noise"):
        mean, std, samples = predict(model, words, output="logits")
    torch.testing.assert_close(samples.log().mean(0).exp(), mean, rtol=0, atol=1e-15)
    assert std.abs().max() < 1e-15
    torch.testing.assert_close(mean, model.eval()(words)[0].softmax(-1), rtol=0, atol=1e-15)


@pytest.mark.parametrize("chunk", [2, 100])
def test_a_stream_in_windows_is_one_long_pass(words: Tensor, chunk: int) -> None:
    model, parts, state = Classifier(), [], None
    torch.manual_seed(1)
    with rd.hold_masks(model):
        whole = rd.mc_predict(model, words, samples=S, select=first, carry=second)
        for window in words.split(2):
            part = rd.mc_predict(model, window, samples=S, select=first, carry=second, state=state, chunk=chunk)
            parts.append(part.samples)
            state = part.state
    torch.testing.assert_close(torch.cat(parts, 1), whole.samples, rtol=0, atol=2e-15)
    torch.testing.assert_close(state, whole.state, rtol=0, atol=2e-15)


def test_a_state_that_samples_share_is_an_argument(words: Tensor) -> None:
    model = Classifier()
    state = tuple(torch.randn(1, B, F, dtype=torch.float64) for _ in range(2))
    samples = predict(model, words, state, chunk=3).samples
    assert not torch.equal(samples, predict(model, words).samples)
    named = namedtuple("State", "h c")(*state)
    assert torch.equal(predict(model, words, named, chunk=3).samples, samples)


def test_lengths_and_batch_first() -> None:
    class Ragged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = rd.GRU(F, 5, batch_first=True, noise=rd.Variational(input=0.3, recurrent=0.3))

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1][0]

    model, x, lengths = Ragged(), torch.randn(B, T, F), torch.tensor([3, 5, 1])
    whole = predict(model, x, lengths, in_dims=(0, 0), select=None).samples
    assert whole.shape == (S, B, 5)
    alone = predict(model, x, lengths, in_dims=0, select=None, chunk=1).samples
    # float32: measured 6e-8.
    torch.testing.assert_close(whole, alone, rtol=0, atol=2e-7)


def test_a_layer_within_folded_axes_and_dropout_of_any_shape() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = rd.GRU(F, 5, batch_first=True, noise=rd.Variational(recurrent=0.5))
            self.drop = rd.nn.Dropout(0.5)
            self.theirs = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.rnn(x.flatten(0, 1))[1][0]
            return self.theirs(self.drop(y)).unflatten(0, x.shape[:2])

    samples = predict(Folded(), torch.randn(B, 2, T, F), in_dims=0, select=None).samples
    assert samples.shape == (S, B, 2, 5)
    assert len({float(s.sum()) for s in samples}) == S


def test_a_shared_mask_of_a_module_is_drawn_for_each_sample() -> None:
    model = rd.nn.Dropout(0.5, noise_shape=(1, 1, None))
    samples = predict(model, torch.ones(T, B, 20), select=None).samples
    assert (samples == samples[:, :1, :1]).all()
    assert len({tuple(sample[0, 0].tolist()) for sample in samples}) == S


def test_half_precision_is_averaged_in_float32() -> None:
    model = rd.RNN(F, F, noise=rd.Variational(output=0.5)).bfloat16()
    assert predict(model, torch.randn(T, B, F).bfloat16()).mean.dtype == torch.float32


def test_modes_and_hooks_are_given_back(words: Tensor) -> None:
    model = Classifier().train()
    model.locked.eval()
    for break_it in (False, True):
        if break_it:
            with pytest.raises(ZeroDivisionError):
                predict(model, words, select=lambda _: 1 / 0)
        else:
            predict(model, words)
        assert {n for n, m in model.named_modules() if not m.training} == {"locked"}
        assert not any(m._forward_pre_hooks or held_by(m) for m in model.modules())
    with rd.hold_masks(model):
        with pytest.raises(ZeroDivisionError):
            predict(model, words, select=lambda _: 1 / 0)
        assert held_by(model.rnn).samples is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 1}, "samples must be an integer of 2 or more; got 1"),
        ({"samples": True}, "samples must be an integer"),
        ({"chunk": 0}, "chunk must be an integer of 1 or more, or None; got 0"),
        ({"output": "classes"}, "output must be one of 'values', 'logits', 'log_probs', 'probs'; got 'classes'"),
        ({"select": None}, "the model's output must be a tensor; got 'tuple'. Say with select="),
        ({"out_dim": 0}, r"the output must have 21 examples on axis 0; got \(5, 21, 6\). Give their axis as out_dim"),
        (
            {"in_dims": 0},
            r"EmbeddingDropout must have the 35 examples of this pass in its batch; got 'a batch of 3'. Give the axis",
        ),
        ({"in_dims": 2}, r"every tensor must have the axis 2 that in_dims names; got \(5, 3\)"),
        ({"in_dims": (1, 1)}, r"in_dims must be one axis, or one for each argument; got \(1, 1\)"),
        ({"state": torch.zeros(1, B, F)}, r"the state of all samples has 21 examples on axis 1; got \(1, 3, 4\)"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str, words: Tensor) -> None:
    with pytest.raises(ValueError, match=message):
        predict(Classifier(), words, **options)


def test_what_is_no_tensor_or_compiled_is_refused(words: Tensor) -> None:
    with pytest.raises(ValueError, match="arguments and states are tensors; got 'PackedSequence'"):
        predict(Classifier(), pack_padded_sequence(words, [T] * B))
    with pytest.raises(ValueError, match="one number of examples; got \\[3, 5\\]"):
        predict(Classifier(), words, words, in_dims=(0, 1))
    with pytest.raises(ValueError, match="compiled graphs"):
        predict(torch.compile(Classifier(), backend="eager"), words)


def test_time_taken_for_examples_is_refused_in_torchs_layers_too() -> None:
    with pytest.raises(ValueError, match="GRU must have the 35 examples of this pass in its batch; got 'a batch of 3'"):
        predict(nn.GRU(F, F, 2, dropout=0.5), torch.randn(T, B, F), in_dims=0)
