"""What a published language model was made with, and what models of any task are trained with, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from recurdrop.errors import invalid
from recurdrop.methods import parse
from recurdrop.models.recurrent import CELLS
from recurdrop.optim.settings import LOSSES

INITS = ("uniform", "embedding", "frequencies", "orthogonal")
OPTIMIZERS = ("sgd", "ntasgd", "adam", "rmsprop")
SCHEDULES = ("constant", "decay", "milestones", "plateau", "falling")
_NAMES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "loss": LOSSES}
_NOT_BELOW_0 = (
    *("epochs", "bptt", "constant_epochs", "patience", "early_stop", "least_lr", "weight_decay", "longest", "nonmono"),
    *("alpha", "beta", "kappa", "curriculum"),
)


@dataclass(frozen=True)
class ModelSettings:
    """The model.

    Attributes:
        vocabulary: words or characters; the data of a training tell it anew.
        embedding: width of the embedding; 0 for characters that enter one-hot.
        widths: of the recurrent layers, from the bottom up.
        noise: methods in the layers, as `recurdrop.methods.parse` reads them; of unequal widths: one `awd`.
        cell: "lstm", "gru" or "rnn".
        tied: whether the output layer's matrix is the embedding's.
        embedding_dropout: probability to drop a word.
        per_example: whether each example drops words of its own (Gal), or all the same (AWD).
        softmaxes: components of the output layer; 1 for a plain one.
        latent_dropout: of the mixture of softmaxes.
        init: "uniform": everything in ±`init_range`; "embedding": the embedding alone, biases of the output 0, layers
            as in torch; "frequencies": the same, but biases of the output the logarithms of the words' frequencies;
            "orthogonal": matrices orthogonal, biases 0, that of the forget gate 1.
        init_range: of uniform numbers.

    Raises:
        ValueError: a setting breaks its rule.
    """

    vocabulary: int
    embedding: int
    widths: tuple[int, ...]
    noise: tuple[str, ...] = ()
    cell: str = "lstm"
    tied: bool = False
    embedding_dropout: float = 0.0
    per_example: bool = False
    softmaxes: int = 1
    latent_dropout: float = 0.0
    init: str = "uniform"
    init_range: float = 0.1

    def __post_init__(self) -> None:
        for name, known in (("cell", CELLS), ("init", INITS)):
            if getattr(self, name) not in known:
                raise invalid(f"{name} must be one of {', '.join(known)}", getattr(self, name), "Choose one of them.")
        if min(self.widths, default=0) < 1:
            raise invalid("widths must be of one layer or more, each 1 or more", self.widths, "Give e.g. 650, 650.")
        for name, least in (("vocabulary", 0), ("embedding", 0), ("softmaxes", 1)):
            if getattr(self, name) < least:
                raise invalid(f"{name} must be {least} or more", getattr(self, name), f"Give e.g. {max(least, 1)}.")
        if self.embedding == 0 and (self.tied or self.softmaxes > 1):
            rule = "a tied output layer and a mixture of softmaxes need an embedding"
            raise invalid(rule, self.embedding, "Give its width.")
        read = self.embedding if self.softmaxes > 1 else self.widths[-1]
        if self.tied and read != self.embedding:
            raise invalid("a tied output layer is as wide as the embedding", read, f"Make it {self.embedding}.")
        for text in self.noise:
            parse(text)


@dataclass(frozen=True)
class TrainingSettings:
    """The training.

    Attributes:
        batch: examples of an update, or streams of running text side by side.
        epochs: passes; 0 where `least_lr` ends the training, or where no number is published.
        lr: learning rate of the first epoch, for `loss`.
        bptt: steps of a window of running text, or their mean where `variable_bptt`; 0 where examples stand alone.
        loss: "sum_over_time" or "mean_over_tokens", as in `rd.SGDSettings`.
        clip: largest norm of the gradient; infinite for none.
        optimizer: "sgd", "ntasgd", "adam" or "rmsprop".
        schedule: "constant"; "decay": as `rd.ZarembaLR` with `constant_epochs` and `divisor`; "milestones": divided by
            `divisor` at the epochs in `milestones`; "plateau": divided by `divisor` after `patience` epochs without a
            better validation loss; "falling": over the second half of the updates to 0 in a straight line.
        constant_epochs: epochs at `lr`, for "decay".
        divisor: what divides the learning rate.
        milestones: epochs, for "milestones".
        patience: epochs, for "plateau".
        from_best: whether each division of "plateau" goes on from the best weights so far.
        early_stop: epochs without a better validation loss after which training ends; 0 for never.
        least_lr: training ends below it; 0 for never.
        weight_decay: coupled, unless `decoupled`.
        decoupled: whether parameters are multiplied by 1 - `weight_decay` after each step, as `rd.decoupled_decay_`.
        variable_bptt: whether windows vary in length, and lr with it, as in `rd.VariableBPTT`.
        longest: steps by which a varying window may exceed `bptt`; 0 for no limit.
        nonmono: n of `rd.NTASGD`.
        alpha: of `rd.activation_regularization`.
        beta: of `rd.temporal_activation_regularization`.
        kappa: of `rd.fraternal`; 0 for one pass.
        curriculum: gamma of `rd.Curriculum` over all rates, an update; 0 for rates that stay.

    Raises:
        ValueError: a setting breaks its rule.
    """

    batch: int
    epochs: int
    lr: float
    bptt: int = 0
    loss: str = "mean_over_tokens"
    clip: float = math.inf
    optimizer: str = "sgd"
    schedule: str = "constant"
    constant_epochs: int = 0
    divisor: float = 1.0
    milestones: tuple[int, ...] = ()
    patience: int = 0
    from_best: bool = False
    early_stop: int = 0
    least_lr: float = 0.0
    weight_decay: float = 0.0
    decoupled: bool = False
    variable_bptt: bool = False
    longest: int = 0
    nonmono: int = 0
    alpha: float = 0.0
    beta: float = 0.0
    kappa: float = 0.0
    curriculum: float = 0.0

    def __post_init__(self) -> None:
        for name, known in _NAMES.items():
            if getattr(self, name) not in known:
                raise invalid(f"{name} must be one of {', '.join(known)}", getattr(self, name), "Choose one of them.")
        if self.schedule == "plateau" and not (self.patience > 0 and self.divisor > 1):
            given = (self.patience, self.divisor)
            raise invalid("schedule plateau needs patience of 1 or more and a divisor above 1", given, "Give 1 and 4.")
        if self.schedule == "falling" and not self.epochs:
            raise invalid("schedule falling needs epochs, since it ends with them", self.epochs, "Give a number.")
        if self.batch < 1:
            raise invalid("batch must be 1 or more", self.batch, "Give e.g. 20.")
        for name in ("lr", "clip", "divisor"):
            if not getattr(self, name) > 0:
                raise invalid(f"{name} must be above 0", getattr(self, name), "Give e.g. 1.")
        for name in ("lr", "divisor"):
            if math.isinf(getattr(self, name)):
                raise invalid(f"{name} must be finite", getattr(self, name), "Give e.g. 1.")
        for name in _NOT_BELOW_0:
            if not 0 <= getattr(self, name) < math.inf:
                raise invalid(f"{name} must be 0 or more, and finite", getattr(self, name), "Leave it out for none.")


@dataclass(frozen=True)
class Published:
    """One published result; `dataclasses.asdict` makes numbers, texts and lists of it.

    Attributes:
        task: "ptb-word", "wikitext-2", "ptb-char", "enwik8" or "text8".
        model: the model.
        training: its training.
        metric: "perplexity" or "bits per character".
        valid: the published number on the validation part; NaN where none is known.
        test: that on the test part.
        source: where the settings and numbers are from, and what they leave open.
    """

    task: str
    model: ModelSettings
    training: TrainingSettings
    metric: str
    valid: float
    test: float
    source: str
