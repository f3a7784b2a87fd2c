from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
from torch import nn

import recurdrop as rd
from recurdrop.models import AWDLSTM, PUBLISHED, ModelSettings, Published, TrainingSettings, build
from recurdrop.models.language import cross_entropy

WORDS = torch.tensor([[0, 3], [1, 1], [4, 0]])
TINY = ModelSettings(5, 4, (4,))


def count(name: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build(name).parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("awd-lstm-ptb", 24_221_600),
        ("awd-lstm-wt2", 33_556_078),
        ("zaremba-small", 4_653_200),
        ("zaremba-medium", 19_780_400),
        ("zaremba-large", 66_034_000),
    ],
)
def test_parameters_are_as_many_as_published(name: str, parameters: int) -> None:
    assert count(name) == parameters


@pytest.mark.parametrize(
    ("name", "millions"),
    [("awd-lstm-ptb-char", 13.8), ("awd-lstm-enwik8", 47), ("mos-ptb", 22), ("mos-wt2", 35)],
)
def test_parameters_are_about_as_many_as_published(name: str, millions: float) -> None:
    assert count(name) / 1e6 == pytest.approx(millions, abs=0.5 if millions > 20 else 0.05)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_setting_builds_trains_and_evaluates(name: str) -> None:
    settings = PUBLISHED[name].model
    tied_width = settings.embedding and 8
    widths = tuple(8 if w == settings.embedding else 6 + w % 3 for w in settings.widths)
    model = build(dataclasses.replace(settings, embedding=tied_width, widths=widths, vocabulary=5))
    logits, state = model(WORDS)
    assert logits.shape == (3, 2, 5)
    again, _ = model(WORDS)
    assert (not torch.equal(logits, again)) == bool(settings.noise)
    cross_entropy(logits, WORDS).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.eval()
    torch.testing.assert_close(model(WORDS, state)[0], model(WORDS, state)[0], rtol=0, atol=0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_are_data(name: str) -> None:
    published = PUBLISHED[name]
    loaded = json.loads(json.dumps(dataclasses.asdict(published)))
    model = {key: tuple(value) if isinstance(value, list) else value for key, value in loaded.pop("model").items()}
    training = loaded.pop("training")
    training["milestones"] = tuple(training["milestones"])
    again = Published(model=ModelSettings(**model), training=TrainingSettings(**training), **loaded)
    assert repr(again) == repr(published)
    assert None not in (*model.values(), *training.values(), *loaded.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_are_whole(name: str) -> None:
    published = PUBLISHED[name]
    training = published.training
    rd.SGDSettings(training.lr, training.loss, training.clip, training.weight_decay)
    assert training.optimizer in ("sgd", "ntasgd", "adam")
    assert (training.optimizer == "ntasgd") == (training.nonmono > 0)
    assert training.schedule in ("constant", "decay", "milestones", "plateau")
    assert (training.schedule == "constant") == (training.divisor == 1)
    assert (training.schedule == "decay") == (training.constant_epochs > 0)
    assert (training.schedule == "milestones") == bool(training.milestones)
    assert (training.schedule == "plateau") == (training.patience > 0)
    assert published.metric == ("bits per character" if published.model.vocabulary < 1000 else "perplexity")
    assert published.test > 1
    assert published.valid > 1 or math.isnan(published.valid)
    assert "arXiv" in published.source


def test_noise_of_the_published_models() -> None:
    (zoneout,) = build("zoneout-char-ptb").rnns
    assert zoneout.noise == (rd.Zoneout(c=0.5, h=0.05),)
    with torch.device("meta"):
        (gal,) = build("gal-large").rnns
        (word,) = build("zoneout-word-ptb").rnns
    assert gal.noise == (rd.Variational(input=0.5, recurrent=0.3, output=0.5, tied=False),)
    assert word.noise == (rd.Zaremba(0.65), rd.Zoneout(c=0.25, h=0.025))


def test_the_awd_lstm_preset_is_the_awd_lstm() -> None:
    with torch.device("meta"):
        preset, model = build("awd-lstm-ptb"), AWDLSTM(10_000)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    assert {name: value.shape for name, value in preset.state_dict().items()} == shapes
    assert [rnn.noise for rnn in preset.rnns] == [rnn.noise for rnn in model.rnns]
    assert preset.encoder.p == model.encoder.p == 0.1
    assert preset.decoder.weight is preset.encoder.weight


def test_gal_drops_words_of_each_example_and_awd_of_all() -> None:
    words = torch.zeros(1, 400, dtype=torch.int64)
    for name, bits in (("gal-large", 2), ("awd-lstm-ptb", 1)):
        settings = dataclasses.replace(PUBLISHED[name].model, vocabulary=5, embedding=4, widths=(4,))
        encoder = build(settings).encoder
        assert len(encoder.sample_mask(words).unique()) == bits


def test_uniform_embedding_and_the_layers_as_torch_has_them() -> None:
    model = build("awd-lstm-ptb-char", vocabulary=7)
    assert model.encoder.weight.shape == (7, 200)
    assert 0.09 < model.encoder.weight.abs().max() <= 0.1
    assert model.decoder.bias.tolist() == [0.0] * 7
    for rnn in model.rnns:
        assert rnn.weight_hh_l0.abs().max().item() == pytest.approx(rnn.hidden_size**-0.5, rel=1e-3)


def test_uniform_weights() -> None:
    model = build(dataclasses.replace(TINY, widths=(40,), init_range=0.02))
    for parameter in model.parameters():
        assert parameter.abs().max() <= 0.02
    assert torch.cat([p.detach().flatten() for p in model.parameters()]).std() == pytest.approx(0.02 / 3**0.5, rel=0.05)


def test_orthogonal_weights_and_one_hot_characters() -> None:
    model = build(dataclasses.replace(TINY, embedding=0, widths=(6,), init="orthogonal"))
    (rnn,) = model.rnns
    torch.testing.assert_close(rnn.weight_hh_l0.T @ rnn.weight_hh_l0, torch.eye(6), rtol=0, atol=1e-6)
    torch.testing.assert_close(rnn.weight_ih_l0.T @ rnn.weight_ih_l0, torch.eye(5), rtol=0, atol=1e-6)
    assert (rnn.bias_ih_l0 + rnn.bias_hh_l0).tolist() == [0.0] * 6 + [1.0] * 6 + [0.0] * 12
    assert torch.equal(model.encoder(WORDS), nn.functional.one_hot(WORDS, 5).float())
    assert not model.encoder.weight.requires_grad


@pytest.mark.parametrize("init", ["uniform", "embedding", "frequencies", "orthogonal"])
def test_one_hot_symbols_stay_so(init: str) -> None:
    model = build(dataclasses.replace(TINY, embedding=0, init=init), frequencies=torch.ones(5))
    assert torch.equal(model.encoder.weight, torch.eye(5))
    assert not torch.equal(model.decoder.weight, torch.zeros_like(model.decoder.weight))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": ()}, r"widths must be of one layer or more, each 1 or more; got \(\)"),
        ({"widths": (6, 0)}, r"each 1 or more; got \(6, 0\)"),
        ({"cell": "qrnn"}, "cell must be one of lstm, gru, rnn; got 'qrnn'"),
        ({"init": "xavier"}, "init must be one of uniform, embedding, frequencies, orthogonal; got 'xavier'"),
        ({"vocabulary": -1}, "vocabulary must be 0 or more; got -1"),
        ({"embedding": -1}, "embedding must be 0 or more; got -1"),
        ({"softmaxes": 0}, "softmaxes must be 1 or more; got 0"),
        ({"widths": (6,), "tied": True}, "is as wide as the embedding; got 6. Make it 4"),
        ({"embedding": 0, "softmaxes": 2}, "a mixture of softmaxes need an embedding; got 0"),
        ({"embedding": 0, "tied": True}, "a tied output layer .* need an embedding; got 0"),
        ({"noise": ("zonout",)}, "a method must be one that recurdrop has"),
    ],
)
def test_model_settings_that_break_a_rule_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


def test_what_can_not_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match=r"goes by its name; got 'zaremba'\. Choose among awd-lstm-en"):
        build("zaremba")
    with pytest.raises(ValueError, match=r"unequal widths are LSTM layers with .* awd"):
        build(dataclasses.replace(TINY, widths=(6, 4), noise=("zoneout",)))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"batch": 0}, "batch must be 1 or more; got 0"),
        ({"lr": 0.0}, "lr must be above 0; got 0.0"),
        ({"lr": math.nan}, "lr must be above 0; got nan"),
        ({"clip": -1.0}, "clip must be above 0; got -1.0"),
        ({"epochs": -1}, "epochs must be 0 or more, and finite; got -1"),
        ({"kappa": math.nan}, "kappa must be 0 or more, and finite; got nan"),
    ],
)
def test_training_settings_that_break_a_rule_are_refused(changes: dict[str, float], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        TrainingSettings(**{"batch": 1, "epochs": 1, "lr": 1.0, **changes})
