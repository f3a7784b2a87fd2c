"""What FastDropoutRNN, FastDropoutGRU and FastDropoutLSTM share: torch's parameters, layouts and stacking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recurdrop.errors import invalid
from recurdrop.methods.base import Rate, at, rates
from recurdrop.nn.fast_dropout.cells import Recurrent, run
from recurdrop.nn.fast_dropout.linear import Scaling, check_scaling, factors, linear
from recurdrop.nn.fast_dropout.moments import Moments, Variance, as_moments, check_variance
from recurdrop.nn.sequences import Layout, read

Sequences = Tensor | PackedSequence


class FastDropout(nn.Module):
    """A stack of recurrent layers that passes means and variances on.

    A subclass names the layer of torch whose parameters and arguments it has.
    """

    torch_layer: ClassVar[type[nn.RNNBase]]

    def __init__(
        self,
        *args: Any,
        input: Rate = 0.1,
        recurrent: Rate = 0.2,
        scaling: Scaling = "classic",
        variance: Variance = "paper",
        **kwargs: Any,
    ) -> None:
        super().__init__()
        layer = self.torch_layer(*args, **kwargs)
        if layer.dropout or layer.proj_size:
            raise invalid(
                f"{type(self).__name__} has neither dropout= nor proj_size=",
                {"dropout": layer.dropout, "proj_size": layer.proj_size},
                "Give input=, one rate for each layer, instead of dropout=.",
            )
        self.mode = layer.mode
        self.input_size, self.hidden_size, self.num_layers = layer.input_size, layer.hidden_size, layer.num_layers
        self.bias, self.batch_first, self.bidirectional = layer.bias, layer.batch_first, layer.bidirectional
        for name, parameter in layer.named_parameters():
            self.register_parameter(name, parameter)
        self.input, self.recurrent = input, recurrent
        self.scaling, self.variance = check_scaling(scaling), check_variance(variance)

    @property
    def input(self) -> Rate:
        """The probability to drop an input of a layer, or one for each layer; may be reassigned at any time."""
        return self._input

    @input.setter
    def input(self, rate: Rate) -> None:
        self._input = self._checked("input", rate)

    @property
    def recurrent(self) -> Rate:
        """The probability to drop h' in the product, or one for each layer; may be reassigned at any time."""
        return self._recurrent

    @recurrent.setter
    def recurrent(self, rate: Rate) -> None:
        self._recurrent = self._checked("recurrent", rate)

    def _checked(self, name: str, value: Rate) -> Rate:
        name = f"{name} of {type(self).__name__}"
        checked = rates(name, value)
        at(name, checked, 0, self.num_layers)
        return checked

    def _rate(self, name: str, layer: int) -> float:
        return at(name, getattr(self, name), layer, self.num_layers)

    @property
    def directions(self) -> int:
        """1, or 2 when bidirectional."""
        return 2 if self.bidirectional else 1

    def forward(
        self,
        input: Sequences | tuple[Sequences, Sequences],
        hx: Any = None,
        *,
        lengths: Tensor | list[int] | None = None,
    ) -> tuple[Moments, Any]:
        """Run the layer.

        Args:
            input: (T, B, I), (B, T, I) with `batch_first`, (T, I), or a `PackedSequence`: a mean without variance; or
                `Moments` or a pair (mean, variance) of two such.
            hx: h_0 (D·L, B, H), for LSTM a pair (h_0, c_0), without B for one sequence; each a tensor, or `Moments` or
                a pair (mean, variance). Zeros if None.
            lengths: (B,) integers in [0, T], for padded input that is not packed; outputs past a length are 0, mean and
                variance, and an example of length 0 hands its state through.

        Returns:
            output, h_n, or output, (h_n, c_n) for LSTM, as torch's layer, each `Moments`: `output.mean` is what stands
            for torch's output. Under `torch.autocast` too, they are computed in the parameters' dtype.

        Raises:
            ValueError: input, state or lengths that do not fit.
        """
        x, counts, layout = self._read(input, lengths)
        kind = x.mean.device.type
        if not torch.is_autocast_enabled(kind):
            return self._run(x, hx, counts, layout)
        # Variances are small differences, of which half precision leaves little.
        x = Moments(*(part.to(self._weights(0, 0)[0].dtype) for part in x))
        with torch.autocast(kind, enabled=False):
            return self._run(x, hx, counts, layout)

    def _run(self, x: Moments, hx: Any, counts: Tensor | None, layout: Layout) -> tuple[Moments, Any]:
        states = self._states(hx, x.mean, layout)
        last: list[tuple[Moments, ...]] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self.directions):
                w_ih, w_hh, b_ih, b_hh = self._weights(layer, direction)
                state = tuple(Moments(s.mean[len(last)], s.variance[len(last)]) for s in states)
                y, state = run(
                    self.mode,
                    linear(x, w_ih, b_ih, self._rate("input", layer), self.scaling),
                    state,
                    Recurrent.of(w_hh, b_hh, self._rate("recurrent", layer), self.scaling),
                    self.variance,
                    lengths=counts,
                    reverse=direction == 1,
                )
                outputs.append(y)
                last.append(state)
            x = Moments(*(torch.cat(parts, -1) for parts in zip(*outputs, strict=True)))
        ends = tuple(
            Moments(*(layout.restore_state(torch.stack(parts)) for parts in zip(*of_all, strict=True)))
            for of_all in zip(*last, strict=True)
        )
        output = Moments(*(layout.restore(part) for part in x))  # type: ignore[arg-type]
        return output, ends if len(ends) > 1 else ends[0]

    def _read(
        self, input: Sequences | tuple[Sequences, Sequences], lengths: Tensor | list[int] | None
    ) -> tuple[Moments, Tensor | None, Layout]:
        # A PackedSequence is a tuple too.
        alone = isinstance(input, Tensor | PackedSequence)
        parts: tuple[Sequences, ...] = (input,) if isinstance(input, Tensor | PackedSequence) else tuple(input)
        data: Any = tuple(part.data if isinstance(part, PackedSequence) else part for part in parts)
        x = as_moments(data[0] if alone else data).mean
        axes = (2,) if isinstance(parts[0], PackedSequence) else (2, 3)
        time = 1 if self.batch_first and x.dim() == 3 else 0
        if x.dim() not in axes or x.shape[-1] != self.input_size or x.shape[time] == 0:
            raise invalid(
                f"the input must be (T, B, {self.input_size}), (B, T, {self.input_size}) with batch_first, "
                f"or (T, {self.input_size}), with at least one step",
                tuple(x.shape),
                "Check the layout and input_size.",
            )
        mean, counts, layout = read(parts[0], lengths, self.batch_first)
        variance = torch.zeros_like(mean) if alone else read(parts[1], lengths, self.batch_first)[0]
        return Moments(mean, variance), counts, layout

    def _states(self, hx: Any, x: Tensor, layout: Layout) -> list[Moments]:
        """Return h_0 and, for LSTM, c_0, each (L·D, B, H)."""
        names = ("h_0", "c_0") if self.mode == "LSTM" else ("h_0",)
        count, batch = self.num_layers * self.directions, x.shape[1]
        if hx is None:
            return [as_moments(x.new_zeros(count, batch, self.hidden_size)) for _ in names]
        if len(names) == 2 and (isinstance(hx, Moments) or not isinstance(hx, Sequence) or len(hx) != 2):
            raise invalid("hx of an LSTM must be a pair (h_0, c_0)", type(hx).__name__, "Give what the layer returned.")
        wanted = (count, batch, self.hidden_size) if layout.batched else (count, self.hidden_size)
        given = [as_moments(state) for state in (hx if len(names) == 2 else (hx,))]
        states = [Moments(*(part.to(x.dtype) for part in state)) for state in given]
        for name, state in zip(names, states, strict=True):
            if tuple(state.mean.shape) != wanted:
                raise invalid(f"{name} must have shape {wanted}", tuple(state.mean.shape), "Expand it, e.g. over B.")
        return states if layout.batched else [Moments(*(part.unsqueeze(1) for part in state)) for state in states]

    def _weights(self, layer: int, direction: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        suffix = f"_l{layer}" + "_reverse" * direction
        w_ih, w_hh = getattr(self, "weight_ih" + suffix), getattr(self, "weight_hh" + suffix)
        return w_ih, w_hh, getattr(self, "bias_ih" + suffix, None), getattr(self, "bias_hh" + suffix, None)

    def to_torch(self) -> nn.RNNBase:
        """Return the mean alone as a new layer of torch: weights times q with classic scaling, variances dropped."""
        kwargs: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional")
        }
        if self.mode.startswith("RNN"):
            kwargs["nonlinearity"] = self.mode.removeprefix("RNN_").lower()
        weight = self._weights(0, 0)[0]
        layer = self.torch_layer(**kwargs, device=weight.device, dtype=weight.dtype)
        state = self.state_dict()
        for name in state:
            for kind, rate in (("weight_ih_l", "input"), ("weight_hh_l", "recurrent")):
                if name.startswith(kind):
                    index = int(name.removeprefix(kind).removesuffix("_reverse"))
                    state[name] = factors(state[name], self._rate(rate, index), self.scaling)[0]
        layer.load_state_dict(state)
        return layer.train(self.training)

    def extra_repr(self) -> str:
        """Return sizes, rates and what differs from the defaults."""
        parts = [f"{self.input_size}, {self.hidden_size}, input={self.input}, recurrent={self.recurrent}"]
        defaults: dict[str, object] = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "bidirectional": False,
            "scaling": "classic",
            "variance": "paper",
        }
        values = {name: getattr(self, name) for name in defaults}
        parts += [f"{name}={value!r}" for name, value in values.items() if value != defaults[name]]
        return ", ".join(parts)
