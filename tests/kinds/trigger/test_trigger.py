from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recurdrop import methods
from recurdrop.kinds.speech.model import SpokenModel, SpokenSettings
from recurdrop.kinds.trigger.model import TriggerModel, TriggerSettings

SMALL = {"hidden": 5, "channels": 4, "kernel": 3, "stride": 2}


def numbers(*shape: int) -> Tensor:
    return torch.arange(math.prod(shape)).float().mul(0.7).sin().reshape(shape)


@pytest.mark.parametrize(("kernel", "stride", "frames"), [(3, 2, 7), (15, 4, 9), (4, 4, 8), (1, 1, 3)])
def test_a_frame_is_the_convolution_of_the_frames_up_to_its_end(kernel: int, stride: int, frames: int) -> None:
    model = TriggerModel(3, 0.1, TriggerSettings(hidden=5, channels=4, kernel=kernel, stride=stride))
    x = numbers(2, frames, 3)
    weight, bias = model.convolution.weight, model.convolution.bias
    before = torch.cat([torch.zeros(2, kernel, 3), x], 1)
    by_hand = torch.stack(
        [
            torch.einsum("bti,oit->bo", before[:, s + stride : s + stride + kernel], weight) + bias
            for s in range(0, stride * (frames // stride), stride)
        ],
        1,
    ).relu()
    expected = model.output(model.rnn(by_hand)[0]).squeeze(-1)
    assert expected.shape == (2, frames // stride)
    torch.testing.assert_close(model(x), expected)


def test_no_frame_sees_what_follows() -> None:
    model = TriggerModel(3, 0.1, TriggerSettings(**SMALL))
    x = numbers(1, 12, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[0, 2], x)
    assert gradient[0, :6].any(1).all()
    assert not gradient[0, 6:].any()


def test_a_model_without_weights_predicts_the_rate() -> None:
    model = TriggerModel(3, 0.2, TriggerSettings(**SMALL))
    torch.nn.init.zeros_(model.output.weight)
    torch.testing.assert_close(model(numbers(2, 8, 3)).sigmoid(), torch.full((2, 4), 0.2))


def test_dropout_acts_behind_the_convolution_in_training_alone() -> None:
    model = TriggerModel(3, 0.2, TriggerSettings(**SMALL, dropout=1.0))
    x = numbers(2, 8, 3)
    expected = model.output(model.rnn(torch.zeros(2, 4, 4))[0]).squeeze(-1)
    torch.testing.assert_close(model(x), expected)
    assert not torch.allclose(model.eval()(x), expected)


@pytest.mark.parametrize("name", methods.names())
def test_noise_changes_no_initial_weight_and_acts_in_training(name: str) -> None:
    if "GRU" not in methods.get(name).cells():
        with pytest.raises(ValueError, match="GRU"):
            TriggerModel(3, 0.2, TriggerSettings(**SMALL, noise=(name,)))
        return
    models = []
    for noise in ((), (name,)):
        torch.manual_seed(3)
        models.append(TriggerModel(3, 0.2, TriggerSettings(**SMALL, layers=2, noise=noise)))
    weights = [model.state_dict() for model in models]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 0}, "channels must be 1 or more"),
        ({"stride": 16}, "stride=16, kernel=15"),
        ({"stride": 0}, "stride=0"),
        ({"dropout": 1.5}, "dropout must be a probability"),
        ({"hidden": 0}, "hidden must be 1 or more"),
    ],
)
def test_settings_are_checked(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TriggerSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_recording_is_the_mean_over_its_own_frames(bidirectional: bool) -> None:
    settings = SpokenSettings(hidden=5, layers=2, bidirectional=bidirectional)
    model = SpokenModel(3, torch.tensor([2.0, 1.0, 1.0]), settings)
    x, lengths = numbers(3, 6, 3), torch.tensor([6, 1, 4])
    single = [model.output(model.rnn(x[b : b + 1, :n])[0].mean(1)) for b, n in enumerate(lengths.tolist())]
    torch.testing.assert_close(model(x, lengths), torch.cat(single))
    torch.nn.init.zeros_(model.output.weight)
    torch.testing.assert_close(model(x, lengths).softmax(-1)[1], torch.tensor([0.5, 0.25, 0.25]))
