"""FastDropoutRNN, FastDropoutGRU and FastDropoutLSTM."""

from __future__ import annotations

from torch import nn

from recurdrop.nn.fast_dropout.base import FastDropout


class FastDropoutRNN(FastDropout):
    """The plain RNN with mean and variance in place of masks: FD-RNN.

    Equation:
        a_t = W (x_t ⊙ m_t) + b + U (h_{t-1} ⊙ m'_t) + b', h_t = φ(a_t), φ = tanh or ReLU, all bits fresh at each step.
        Their means and variances go through both products exactly (see `FastDropoutLinear`) and through φ as if a_t
        were normal (`tanh`, `relu`).
    Shared over:
        Nothing: that masks are independent is what the moments rest on. Units count as independent too, though all of
        them depend on the bits before.
    Evaluation:
        The same computation. `to_torch` gives the mean alone as a layer of torch.
    Source:
        Wang & Manning 2013, "Fast dropout training", ICML; Bayer et al. 2013, arXiv:1311.0701, for RNNs, who use
        input=0.1, recurrent=0.2 and a `FastDropoutLinear` with p=0.5 on top for music. They learn mean and deviation of
        the state before the first step: give `hx=Moments(mean, deviation.square())`, expanded from parameters.
    Authors' code:
        breze multiplies the recurrent mean by p instead of 1 - p, which is right at 0.5 alone, and computes tanh of
        half its argument; ReLU divides by s + 10⁻⁴. Not so here.

    Parameters are those of `nn.RNN`, and so is the `state_dict`; with classic scaling, weights of a plain layer are to
    be divided by 1 - p. No random number is drawn.

    The paper's variance of tanh and σ is not 0 where that of their argument is (see `sigmoid`), so that without dropout
    (p = 0) the layer still makes variance, and gives torch's means for one step only. With `variance="consistent"` it
    then is torch's layer up to rounding, and closer to dropout at every rate tried.
    Against sampled bits (ten steps, 40 units, weights three times those that torch begins with, input=0.1,
    recurrent=0.2, bits of their own for each gate), the root mean square error of the mean is 0.04, 0.03, 0.04 (RNN,
    GRU, LSTM) of the noise's deviation with "consistent", 0.10, 0.05, 0.13 with "paper", and 0.40, 0.20, 0.23 for the
    mean alone; that of the variance is 0.14, 0.14, 0.23 of the variance with "consistent", and 0.5, 1.2, 2.5 with
    "paper". The less noise, the wider the gap: with torch's own first weights, 4, 5 and 19 with "paper".

    Args:
        *args: as for `nn.RNN`: input_size, hidden_size, num_layers=1, nonlinearity='tanh', bias=True,
            batch_first=False, then bidirectional=False, device=None, dtype=None by name; no dropout.
        input: the probability to drop an input of a layer, in [0, 1], or one for each layer.
        recurrent: the probability to drop a unit of h_{t-1} in the product, or one for each layer.
        scaling: "classic", the paper's, multiplies by bits; "inverted" divides them by 1 - p, as dropout elsewhere in
            this library.
        variance: that of tanh and of the gates: "paper" or "consistent"; see `sigmoid`.
        **kwargs: the same by name.

    Raises:
        ValueError: what torch refuses; `dropout=` or `proj_size=`; a rate outside [0, 1] or not one for each layer;
            another scaling or variance.
    """

    torch_layer = nn.RNN


class FastDropoutLSTM(FastDropout):
    """The LSTM with mean and variance in place of masks.

    Equation:
        a_k = W_k (x_t ⊙ m_t) + b_k + U_k (h_{t-1} ⊙ m'_t) + b'_k for k in i, f, g, o; i, f, o = σ(a), g = tanh(a_g);
        c_t = f ⊙ c_{t-1} + i ⊙ g, h_t = o ⊙ tanh(c_t), all bits fresh at each step. Moments go through the products of
        matrices and of numbers exactly, through σ and tanh as if their arguments were normal.
    Shared over:
        Nothing. As for `FastDropoutRNN`; besides, the gates of a unit count as independent of each other and of
        c_{t-1}, as with bits of their own for each gate.
    Evaluation:
        The same computation. `to_torch` gives the mean alone as a layer of torch.
    Source:
        Wang & Manning 2013, "Fast dropout training", ICML; Bayer et al. 2013, arXiv:1311.0701, for the recurrence. The
        LSTM is an extension by the rule for products of independent numbers.
    Authors' code:
        breze has such an LSTM: g is linear in it, and a logistic function in place of tanh is on c; the mean of c_{t-1}
        is multiplied by 1 - p. Here the cell is torch's.

    Parameters, p = 0, arguments and errors: as for `FastDropoutRNN`, with those of `nn.LSTM` for `*args` and `**kwargs`
    (no nonlinearity, no dropout, no proj_size).
    """

    torch_layer = nn.LSTM


class FastDropoutGRU(FastDropout):
    """The GRU with mean and variance in place of masks.

    Equation:
        r, z = σ(a_r), σ(a_z), a_k = W_k (x_t ⊙ m_t) + b_k + U_k (h_{t-1} ⊙ m'_t) + b'_k;
        n = tanh(W_n (x_t ⊙ m_t) + b_n + r ⊙ (U_n (h_{t-1} ⊙ m'_t) + b'_n)); h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}, all bits
        fresh at each step. Moments go through the products of matrices and of numbers exactly (z and 1 - z being one
        random number), through σ and tanh as if their arguments were normal.
    Shared over:
        Nothing. As for `FastDropoutRNN`; besides, r, z, U_n h' and h_{t-1} of a unit count as independent, as with bits
        of their own for each gate.
    Evaluation:
        The same computation. `to_torch` gives the mean alone as a layer of torch.
    Source:
        Wang & Manning 2013, "Fast dropout training", ICML; Bayer et al. 2013, arXiv:1311.0701, for the recurrence. The
        GRU is an extension in the same way.
    Authors' code:
        None for the GRU.

    Parameters, p = 0, arguments and errors: as for `FastDropoutRNN`, with those of `nn.GRU` for `*args` and `**kwargs`
    (no nonlinearity, no dropout).
    """

    torch_layer = nn.GRU
