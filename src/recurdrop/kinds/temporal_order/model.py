"""The classifier of the temporal order problem, with its initial weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from recurdrop.errors import invalid
from recurdrop.kinds.classify.model import ClassifierSettings, SequenceClassifier
from recurdrop.models.recurrent import RecurrentSettings


@dataclass(frozen=True)
class OrderSettings(RecurrentSettings):
    """The model: symbols enter one-hot, the last output gives the class.

    Attributes:
        hidden: H, width of the recurrent layers.
        init_range: all weights and biases start uniform between it and its negative.
        forget_bias: what an LSTM's forget gate starts from instead, 1 as in Gers et al. 2000 and Jozefowicz et al.
            2015; with 0, half the memory is lost at each step and training takes far longer.
    """

    hidden: int = 256
    init_range: float = 0.05
    forget_bias: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init_range <= 0:
            raise invalid("init_range must be above 0", self.init_range, "Give e.g. 0.05.")


def order_classifier(symbols: int, classes: int, settings: OrderSettings) -> SequenceClassifier:
    """Make the model.

    Args:
        symbols: that there are.
        classes: that there are.
        settings: the model's.
    """
    inner = ClassifierSettings(settings.cell, settings.hidden, settings.layers, settings.noise, embedding=0)
    made = SequenceClassifier(symbols, classes, inner)
    for parameter in made.parameters():
        if parameter.requires_grad:
            nn.init.uniform_(parameter, -settings.init_range, settings.init_range)
    for name, parameter in made.rnn.named_parameters() if settings.cell == "lstm" else ():
        if name.startswith("bias"):  # torch adds two biases up
            nn.init.constant_(parameter.chunk(4)[1], settings.forget_bias if "_ih_" in name else 0.0)
    return made
