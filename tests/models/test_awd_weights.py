from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import recurdrop as rd
from recurdrop.models import AWDLSTM, load_awd_weights, read_awd_weights

WORDS = torch.tensor([[0, 3], [1, 1], [5, 0]])
Weights = dict[str, Tensor]


def small(seed: int) -> AWDLSTM:
    torch.manual_seed(seed)
    return AWDLSTM(7, 4, 6, 2).eval()


def renamed(model: AWDLSTM, raw: str, embedding: tuple[str, ...], prefixes: tuple[str, str] = ("", "")) -> Weights:
    encoder, decoder = prefixes
    saved = {f"{decoder}decoder.weight": model.encoder.weight, f"{decoder}decoder.bias": model.decoder.bias}
    saved |= {f"{encoder}{name}": model.encoder.weight for name in embedding}
    for i, rnn in enumerate(model.rnns):
        for name, value in rnn.named_parameters():
            key = raw if name == "weight_hh_l0" else f"module.{name}"
            saved[f"{encoder}rnns.{i}.{key}"] = value
    return {name: value.detach().clone() for name, value in saved.items()}


def awd(model: AWDLSTM) -> Weights:
    return renamed(model, "module.weight_hh_l0_raw", ("encoder.weight",))


def fastai(model: AWDLSTM) -> Weights:
    saved = renamed(model, "weight_hh_l0_raw", ("encoder.weight", "encoder_dp.emb.weight"), ("0.", "1."))
    saved |= {
        f"0.rnns.{i}.module.weight_hh_l0": torch.zeros(rnn.weight_hh_l0.shape) for i, rnn in enumerate(model.rnns)
    }
    return dict(reversed(saved.items()))


def fastai_0_7(model: AWDLSTM) -> Weights:
    names = ("encoder.weight", "encoder_with_dropout.embed.weight")
    return renamed(model, "module.weight_hh_l0_raw", names, ("0.", "1."))


def without_weight_drop(model: AWDLSTM) -> Weights:
    return {name.replace("module.", "").removesuffix("_raw"): value for name, value in awd(model).items()}


def data_parallel(model: AWDLSTM) -> Weights:
    return {f"module.{name}": value for name, value in awd(model).items()}


@pytest.mark.parametrize("saved", [awd, fastai, fastai_0_7, without_weight_drop, data_parallel])
def test_saved_weights_give_the_same_model(saved: Callable[[AWDLSTM], Weights]) -> None:
    theirs, ours = small(1), small(2)
    expected, _ = theirs(WORDS)
    assert not torch.equal(ours(WORDS)[0], expected)
    load_awd_weights(ours, saved(theirs))
    assert torch.equal(ours(WORDS)[0], expected)
    assert ours.decoder.weight is ours.encoder.weight


def test_files_of_both(tmp_path: Path) -> None:
    theirs = small(1)
    torch.save(awd(theirs), tmp_path / "weights.pt")
    torch.save({"model": fastai(theirs), "opt": {"state": []}}, tmp_path / "learner.pth")
    for file in (tmp_path / "weights.pt", str(tmp_path / "learner.pth")):
        ours = small(2)
        load_awd_weights(ours, file)
        assert torch.equal(ours(WORDS)[0], theirs(WORDS)[0])


def test_an_encoder_alone() -> None:
    theirs, ours = small(1), small(2)
    with torch.no_grad():
        theirs.decoder.bias.fill_(3.0)
    saved = {k.removeprefix("0."): v for k, v in fastai(theirs).items() if k.startswith("0.")}
    with pytest.raises(ValueError, match=r"{'missing': \['decoder.bias'\]}. .*strict=False"):
        load_awd_weights(ours, saved)
    ours.load_state_dict(read_awd_weights(saved), strict=False)
    assert torch.equal(ours(WORDS)[0] + 3.0, theirs(WORDS)[0])


def test_all_that_does_not_fit_is_said_and_nothing_is_changed() -> None:
    ours = small(2)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    saved = awd(AWDLSTM(7, 4, 5, 2))
    saved["prior.weight"] = saved.pop("rnns.1.module.bias_ih_l0")
    with pytest.raises(ValueError, match="the weights must be those of the model") as raised:
        load_awd_weights(ours, saved)
    text = str(raised.value)
    assert "'missing': ['rnns.1.bias_ih_l0'], 'unknown': ['prior.weight']" in text
    assert "'rnns.0.weight_hh_l0': '(20, 5) for (24, 6)'" in text
    assert "decoder.bias" not in text
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_pickled_models_are_refused_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save([nn.LSTM(2, 3), nn.CrossEntropyLoss(), None], file)
    with pytest.raises(ValueError, match=r"must hold tensors alone.*model.pt.*torch.save\(model.state_dict\(\)"):
        read_awd_weights(file)


def test_what_else_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="must hold a state dict; got 'list'"):
        read_awd_weights(tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"have encoder\.weight and rnns\.0"):
        read_awd_weights(nn.LSTM(2, 3).state_dict())
    untied = awd(small(1))
    untied["decoder.weight"] = untied["decoder.weight"] + 1
    with pytest.raises(ValueError, match=r"decoder\.weight must be encoder\.weight"):
        read_awd_weights(untied)


def test_layers_that_have_lost_their_noise_take_weights_too() -> None:
    theirs = small(1)
    ours = rd.plain(small(2))
    load_awd_weights(ours, awd(theirs))
    torch.testing.assert_close(ours.rnns[0].weight_hh_l0, theirs.rnns[0].weight_hh_l0, rtol=0, atol=0)
