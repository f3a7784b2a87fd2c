"""From torch.nn to a regularized recurrence and back, with the same weights.

python examples/swap_it_in.py
"""

from __future__ import annotations

import torch
from torch import nn

import recurdrop as rd


class Tagger(nn.Module):
    """Any model with torch's layers in it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 32)
        self.rnn = nn.LSTM(32, 48, num_layers=2, bidirectional=True)
        self.out = nn.Linear(96, 5)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Return scores (T, B, 5) of the tags of words (T, B)."""
        return self.out(self.rnn(self.embed(words))[0])


def main() -> None:
    """Give a model noise, look at it, and take it away again."""
    torch.manual_seed(0)
    model, words = Tagger(), torch.randint(100, (20, 8))
    before = model.eval()(words)

    rd.regularize(model, rd.Variational(input=0.3, recurrent=0.2, output=0.3))
    print(rd.describe(model))
    print("evaluation is as before:", torch.allclose(model(words), before, atol=1e-6))

    model.train()
    print("two passes of training differ by", f"{(model(words) - model(words)).abs().max().item():.2f}")
    torch.manual_seed(1)
    first = model(words)
    torch.manual_seed(1)
    print("the same seed gives the same noise:", torch.equal(model(words), first))

    rd.plain(model)
    print("back to", type(model.rnn).__module__, "and the same:", torch.equal(model.eval()(words), before))


if __name__ == "__main__":
    main()
