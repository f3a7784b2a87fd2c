from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from recurdrop.models import MixtureOfSoftmaxes
from recurdrop.models.language import cross_entropy


def made(components: int, dropout: float = 0.0) -> MixtureOfSoftmaxes:
    return MixtureOfSoftmaxes(4, 6, 3, components, dropout=dropout).double()


def test_the_mixture_by_hand() -> None:
    mos, h = made(3), torch.randn(5, 2, 4, dtype=torch.float64)
    prior = (h @ mos.prior.weight.T).softmax(-1)
    expected = torch.zeros(5, 2, 6, dtype=torch.float64)
    for k in range(3):
        rows = slice(3 * k, 3 * k + 3)
        latent = torch.tanh(h @ mos.latent.weight[rows].T + mos.latent.bias[rows])
        expected += prior[..., k : k + 1] * mos.decoder(latent).softmax(-1)
    torch.testing.assert_close(mos(h).exp(), expected, rtol=0, atol=2e-16)
    torch.testing.assert_close(expected.sum(-1), torch.ones(5, 2, dtype=torch.float64))


def test_one_component_is_a_softmax() -> None:
    mos, h = made(1), torch.randn(5, 2, 4, dtype=torch.float64)
    expected = mos.decoder(mos.latent(h).tanh()).log_softmax(-1)
    torch.testing.assert_close(mos(h), expected, rtol=0, atol=1e-15)


def test_its_logarithms_stay_finite_and_its_gradient_right_where_probabilities_underflow() -> None:
    mos, h = made(2), torch.randn(3, 1, 4, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        mos.decoder.bias[0] = 2000.0
        mos.prior.weight.mul_(2000.0)
    log_p = mos(h)
    assert log_p.isfinite().all()
    assert (log_p[..., 1:] < -1900).all()
    assert torch.autograd.gradcheck(made(2), (h,))
    assert torch.autograd.gradcheck(mos, (h,), atol=1e-4)


def test_cross_entropy_takes_it_as_logits() -> None:
    log_p, targets = made(3)(torch.randn(5, 2, 4, dtype=torch.float64)), torch.randint(6, (5, 2))
    expected = F.nll_loss(log_p.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(cross_entropy(log_p, targets), expected, rtol=0, atol=1e-15)


def test_latents_are_dropped_once_a_sequence_and_not_at_evaluation() -> None:
    mos, h = made(3, dropout=0.5), torch.randn(1, 2, 4, dtype=torch.float64).expand(5, -1, -1)
    dropped = mos(h)
    assert (dropped == dropped[:1]).all()
    assert (mos(h) != dropped).any()
    torch.manual_seed(4)
    mask = mos.dropout.sample_mask(mos.latent(h))
    torch.manual_seed(4)
    found = mos(h)
    latents = (mos.latent(h).tanh() * mask).unflatten(-1, (3, 3))
    expected = (mos.prior(h).softmax(-1).unsqueeze(-1) * mos.decoder(latents).softmax(-1)).sum(-2).log()
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-15)
    mos.eval()
    plain = made(3)
    plain.load_state_dict(mos.state_dict())
    assert torch.equal(mos(h), plain(h))


def test_no_component_is_refused() -> None:
    with pytest.raises(ValueError, match="components of MixtureOfSoftmaxes must be 1 or more; got 0"):
        made(0)
