"""sb3-contrib: `RecurrentPPO`, whose LSTMs run with noise in the update and without in the rollout."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from acceptance import check, gradients_reach_all_weights, recurrent

import recurdrop as rd

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    sb3 = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed; `make downstream` does")

pytestmark = [pytest.mark.downstream, pytest.mark.filterwarnings("ignore")]

NOISE = [rd.WeightDrop(0.3), rd.Zoneout(c=0.2, h=0.1)]


def _agent() -> Any:
    return sb3.RecurrentPPO(
        "MlpLstmPolicy",
        "CartPole-v1",
        n_steps=24,
        batch_size=12,
        n_epochs=2,
        policy_kwargs={"lstm_hidden_size": 8, "net_arch": [8]},
        seed=0,
        device="cpu",
    )


def test_regularized_between_two_rounds(tmp_path: Path) -> None:
    agent = _agent().learn(48)
    policy = agent.policy
    rd.regularize(policy, NOISE)
    assert {type(layer) for layer in recurrent(policy)} == {rd.LSTM}
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    agent.learn(48, reset_num_timesteps=False)
    assert not [name for name, p in policy.named_parameters() if torch.equal(p, before[name])]

    rows, sequences = 12, 3
    zeros = torch.zeros(1, sequences, 8)
    states = sb3.common.recurrent.type_aliases.RNNStates((zeros, zeros), (zeros, zeros))
    observations, actions = torch.randn(rows, 4), torch.randint(0, 2, (rows,))
    for starts in (torch.zeros(rows), (torch.arange(rows) % 5 == 0).float()):  # the second: step by step, with resets

        def run(starts: torch.Tensor = starts) -> torch.Tensor:
            values, log_prob, _ = policy.evaluate_actions(observations, actions, states, starts)
            return torch.stack([values.flatten(), log_prob])

        check(policy, run, _agent().policy)
        gradients_reach_all_weights(policy, lambda run=run: run().square().mean())

    agent.save(tmp_path / "agent")
    loaded = sb3.RecurrentPPO.load(tmp_path / "agent")
    observation = observations[0].numpy()
    action, _ = agent.predict(observation, deterministic=True)
    assert loaded.predict(observation, deterministic=True)[0] == action
