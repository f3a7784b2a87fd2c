"""Non-monotonically triggered averaged SGD: Merity et al. 2018."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from recurdrop.errors import invalid

FIRST = {"first": 1, "second": 2}


class NTASGD(Optimizer):
    """Plain SGD that starts to average its weights once the validation loss stops falling.

    Equation:
        step:    w ← w - lr (g + λ w)                            λ the weight decay
        report:  v fires if t > n and v > min(v_0, ..., v_{t-n-1})     v_0, ..., v_{t-1} those reported before
        trigger: the first report that fires, after k steps in all
        average: w̄ = mean(w_{k+1}, w_{k+2}, ...)                 the weights after each later step
    Evaluation:
        Inside `with opt.averaged():` the model has w̄, before the trigger and until the next step w.
    Source:
        Merity, Keskar, Socher 2018, arXiv:1708.02182, algorithm 1: n = 5, one report an epoch, constant lr. Words of
        Penn Treebank and WikiText-2: lr 30 on the mean loss over tokens, weight decay 1.2e-6.
    Authors' code:
        The trigger is the same. It then makes a `torch.optim.ASGD`, which lets the first step's weights go
        (`average_from="second"`) and applies each step size one step late, so that a learning rate rescaled with
        the window's length meets the next window; here a step takes the group's lr as it is. Parameters of an adaptive
        softmax are not trained after its trigger; here all go on.

    Averages are kept in at least float32. `state_dict` holds them and the reports, so that a resumed run goes on bit
    for bit. A parameter without gradient stays where it is and counts in its average.

    Args:
        params: parameters, or groups of them with `lr` and `weight_decay` of their own.
        lr: learning rate; schedulers may change it.
        n: reports that the loss may go without falling.
        weight_decay: λ, coupled: multiplied by lr.
        average_from: the "first" step after the trigger, or the "second" as the authors' code.

    Attributes:
        history: the losses reported so far.

    Raises:
        ValueError: an argument breaks its rule.
    """

    history: list[float]
    _since: int | None
    _swapped = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        n: int = 5,
        *,
        weight_decay: float = 0.0,
        average_from: str = "first",
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not 0 <= value < math.inf:
                raise invalid(f"{name} of NTASGD must be a number of 0 or more", value, "Give e.g. lr=30.")
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise invalid("n of NTASGD must be a whole number of 0 or more", n, "Give the reports to wait, e.g. 5.")
        if average_from not in FIRST:
            raise invalid("average_from of NTASGD must be 'first' or 'second'", average_from, "Choose one of them.")
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.n = n
        self.average_from = average_from
        self.history = []
        self._since = None

    @property
    def averaging(self) -> bool:
        """Whether the trigger has come."""
        return self._since is not None

    def start_averaging(self) -> None:
        """Start an average with the coming steps, without waiting for the trigger, as fine-tuning does.

        An average that there is already is let go.
        """
        self._since = 0
        for state in self.state.values():
            state.pop("mean", None)
            state.pop("averaged", None)

    def report(self, validation_loss: float | Tensor) -> bool:
        """Take the validation loss of an interval, an epoch say; a first report that fires starts the averaging.

        Args:
            validation_loss: of the raw weights before the trigger, and of the averaged ones after it.

        Returns:
            Whether it fired: the loss is above the lowest of those reported more than n reports ago. Fine-tuning stops
            there.

        Raises:
            ValueError: NaN, which can't be compared.
        """
        loss = float(validation_loss)
        if math.isnan(loss):
            raise invalid("a reported validation loss must be a number", loss, "Stop this run: it has diverged.")
        earlier = self.history[: max(0, len(self.history) - self.n)]
        fired = bool(earlier) and loss > min(earlier)
        self.history.append(loss)
        if fired and not self.averaging:
            self.start_averaging()
        return fired

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step of SGD, then bring the average up to date.

        Args:
            closure: computes the loss and its gradients again; it is returned.

        Raises:
            RuntimeError: inside `averaged()`, where the step would be lost.
        """
        if self._swapped:
            raise RuntimeError(
                "NTASGD steps on raw weights; got a step inside averaged(), where they are put aside. Leave it first."
            )
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._since is not None:
            self._since += 1
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    gradient = p.grad.add(p, alpha=group["weight_decay"]) if group["weight_decay"] else p.grad
                    p.add_(gradient, alpha=-float(group["lr"]))
                if self._since is not None and self._since >= FIRST[self.average_from]:
                    _average(p, self.state[p])
        return loss

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the parameters their averages; the raw weights are back at the end, also after an error.

        The model's `state_dict` taken inside holds the averages. Where there are none yet, nothing changes.
        """
        means = {p: self.state[p]["mean"] for p in self._params() if "mean" in self.state.get(p, {})}
        outer, raw = self._swapped, {p: p.detach().clone() for p in means}
        self._swapped = True
        try:
            _assign(means)
            yield
        finally:
            _assign(raw)
            self._swapped = outer

    def _params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state with the averages in it, and under `ntasgd` the reports and the steps averaged."""
        return {**super().state_dict(), "ntasgd": {"history": list(self.history), "since": self._since}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of another NTASGD over like parameters.

        Raises:
            ValueError: another optimizer's state, or other groups.
        """
        if "ntasgd" not in state_dict:
            raise invalid(
                "a state of NTASGD has a part named ntasgd", sorted(state_dict), "Load what its state_dict() returned."
            )
        super().load_state_dict(state_dict)
        saved = (index for group in state_dict["param_groups"] for index in group["params"])
        for p, index in zip(self._params(), saved, strict=True):
            mean = state_dict["state"].get(index, {}).get("mean")
            if mean is not None:  # torch has rounded it to the parameter's dtype, or not copied it
                self.state[p]["mean"] = mean.to(p.device, copy=True)
        self.history, self._since = list(state_dict["ntasgd"]["history"]), state_dict["ntasgd"]["since"]

    def __getstate__(self) -> dict[str, Any]:
        own = ("n", "average_from", "history", "_since")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}


def _average(p: Tensor, state: dict[str, Any]) -> None:
    state["averaged"] = state.get("averaged", 0) + 1
    if state["averaged"] == 1:
        state["mean"] = p.detach().to(torch.promote_types(p.dtype, torch.float32), copy=True)
    else:
        state["mean"].lerp_(p.to(state["mean"].dtype), 1 / state["averaged"])


@torch.no_grad()
def _assign(values: dict[Tensor, Tensor]) -> None:
    for p, value in values.items():
        p.copy_(value)
