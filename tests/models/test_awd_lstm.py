from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import recurdrop as rd
from recurdrop.models import AWDLSTM
from recurdrop.models.awd_lstm import awd_layers
from recurdrop.models.language import cross_entropy, detached

NOISE = rd.AWD(input=0.3, between=0.2, output=0.4, weight=0.5)
WORDS = torch.tensor([[0, 3], [1, 1], [5, 0], [2, 6], [0, 3]])


def small(noise: rd.AWD = NOISE, layers: int = 3, embedding_dropout: float = 0.4) -> AWDLSTM:
    torch.manual_seed(1)
    return AWDLSTM(7, 4, 6, layers, noise=noise, embedding_dropout=embedding_dropout).double()


def rates(layer: rd.LSTM) -> dict[str, float]:
    (plan,) = layer.plans()
    return {site: noise.rate for site, (noise,) in plan.items() if noise.rate}


@pytest.mark.parametrize(("vocabulary", "count"), [(10_000, 24_221_600), (33_278, 33_556_078)])
def test_the_published_model_has_the_published_number_of_parameters(vocabulary: int, count: int) -> None:
    with torch.device("meta"):
        model = AWDLSTM(vocabulary)
    assert sum(p.numel() for p in model.parameters()) == count
    assert [rnn.hidden_size for rnn in model.rnns] == [1150, 1150, 400]


def test_each_rate_is_at_its_place() -> None:
    noise = rd.AWD(input=0.1, between=(0.2, 0.3), output=0.4, weight=(0.5, 0.6, 0.7))
    first, second, last = small(noise).rnns
    assert rates(first) == {"weight_hh": 0.5, "input": 0.1, "output": 0.2}
    assert rates(second) == {"weight_hh": 0.6, "output": 0.3}
    assert rates(last) == {"weight_hh": 0.7, "output": 0.4}
    (only,) = small(rd.AWD(input=0.1, between=0.2, output=0.4, weight=0.5), layers=1).rnns
    assert rates(only) == {"weight_hh": 0.5, "input": 0.1, "output": 0.4}


def test_the_layers_have_the_noise_of_one_stack() -> None:
    noise = rd.AWD(input=0.1, between=(0.2, 0.3), output=0.4, weight=(0.5, 0.6, 0.7))
    stack = rd.LSTM(4, 4, 3, noise=noise)
    parts = awd_layers((4, 4, 4, 4), noise)
    together = [{site: n for site, (n,) in plan.items() if n.rate} for plan in stack.plans()]
    assert together == [{site: n for site, (n,) in part.plans()[0].items() if n.rate} for part in parts]


def test_a_training_forward_by_hand() -> None:
    model = small()
    torch.manual_seed(5)
    x = model.encoder.weight[WORDS] * model.encoder.sample_mask(WORDS)
    drawn = [rnn.sample_masks(*WORDS.shape) for rnn in model.rnns]
    states = []
    for rnn, (masks,) in zip(model.rnns, drawn, strict=True):
        plain = nn.LSTM(rnn.input_size, rnn.hidden_size).double()
        plain.load_state_dict(rnn.state_dict())
        plain.weight_hh_l0 = nn.Parameter(rnn.weight_hh_l0 * masks.weight_hh)
        raw, state = plain(x if masks.input is None else x * masks.input)
        x = raw * masks.output
        assert masks.output.shape == (1, 2, rnn.hidden_size)
        states += state
    torch.manual_seed(5)
    logits, state, outputs = model(WORDS, details=True)
    expected = x @ model.encoder.weight.T + model.decoder.bias
    found = [logits, outputs.raw, outputs.dropped, *(part for pair in state for part in pair)]
    for one, other in zip(found, [expected, raw, x, *states], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-15)
    assert (outputs.dropped == 0).any()
    assert not (outputs.raw == 0).any()


def test_embedding_dropout_is_in_the_encoder_alone() -> None:
    model = small(rd.AWD(0, 0, 0, 0), embedding_dropout=1.0)
    dropped, _ = model(WORDS)
    with torch.no_grad():
        model.encoder.embedding.weight[3].mul_(2)
    again, _ = model(WORDS)
    changed = (dropped != again).any(0).any(0)
    assert changed.tolist() == [word == 3 for word in range(7)]


def test_embedding_and_output_share_one_matrix_also_in_copies() -> None:
    model = small()
    twin = copy.deepcopy(model)
    twin.load_state_dict(model.state_dict())
    for one in (model, twin):
        assert one.decoder.weight is one.encoder.weight
        assert one.encoder.weight.abs().max() <= 0.1
    before = twin.encoder.weight.detach().clone()
    logits, _ = model(WORDS)
    cross_entropy(logits, WORDS).backward()
    torch.optim.SGD(model.parameters(), 1.0).step()
    assert torch.equal(twin.encoder.weight, before)
    assert not torch.equal(model.encoder.weight, before)
    assert all(p.grad is not None for p in model.parameters())


def test_windows_go_on_where_the_last_one_ended() -> None:
    model = small().eval()
    whole, last = model(WORDS)
    first, state = model(WORDS[:2])
    second, end = model(WORDS[2:], detached(state))
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-15)
    for one, other in zip(last, end, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-15)
    assert not any(part.requires_grad for pair in detached(end) for part in pair)


def test_weight_drop_is_not_seen_at_the_first_step_from_zero() -> None:
    model = small(rd.AWD(0, 0, 0, 0.5), embedding_dropout=0.0)
    first, again = model(WORDS)[0], model(WORDS)[0]
    torch.testing.assert_close(first[0], again[0], rtol=0, atol=1e-15)
    assert (first[1:] - again[1:]).abs().amax((1, 2)).min() > 1e-6


def test_what_the_penalties_read() -> None:
    model = small(rd.AWD(0, 0, 0.5, 0))
    _, _, outputs = model(WORDS, details=True)
    kept = outputs.dropped != 0
    torch.testing.assert_close(outputs.dropped[kept], 2 * outputs.raw[kept], rtol=0, atol=1e-15)
    penalty = rd.activation_regularization(outputs.dropped, 2.0)
    assert penalty.item() == pytest.approx(2 * 4 * outputs.raw[kept].square().sum().item() / kept.numel())
    _, _, one_step = model(WORDS[:1], details=True)
    assert rd.temporal_activation_regularization(one_step.raw, 1.0) == 0
    assert rd.temporal_activation_regularization(outputs.raw, 1.0) > 0


def test_a_schedule_reaches_every_rate() -> None:
    model = small()
    rd.StepSchedule(model, at=1)
    assert not any(rates(rnn) for rnn in model.rnns)
    assert model.encoder.p == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 0}, "layers of AWDLSTM must be 1 or more; got 0"),
        ({"noise": rd.Zoneout()}, "noise of AWD-LSTM must be rd.AWD; got Zoneout"),
        ({"noise": rd.AWD(between=(0.1, 0.2, 0.3))}, "between of AWD governs 2 places"),
        ({"embedding_dropout": 1.5}, r"p of EmbeddingDropout must be a number in \[0, 1\]; got 1.5"),
    ],
)
def test_what_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AWDLSTM(7, 4, 6, **arguments)
