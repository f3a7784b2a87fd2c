"""What LSTM, GRU and RNN share: they join plan, masks and ops under torch's own parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.utils.rnn import PackedSequence

from recurdrop.errors import invalid
from recurdrop.masks import Sizes, check_masks, constants, draw, draw_key
from recurdrop.methods.base import Method
from recurdrop.nn.dynamo import allow_tracing
from recurdrop.nn.given_masks import given_masks
from recurdrop.nn.pace import outruns_torch
from recurdrop.nn.parametrized import WeightsReadOnce, weights_evaluated_once
from recurdrop.nn.sequences import Layout, read
from recurdrop.nn.torch_tools import TorchTools, symbolic_call
from recurdrop.ops.contract import CELL, Call, Mode, Result, Weights
from recurdrop.ops.dispatch import check_backend, run
from recurdrop.plan import DROPOUT_ARGUMENT, LayerPlan, active, plan_layers
from recurdrop.sites import GATES, Cell, Masks
from recurdrop.tracing import exporting, lacks_rules, no_modes, unwrapped

NoiseLike = Method | Iterable[Method] | None
State = Tensor | tuple[Tensor, Tensor]
WhichDetails = bool | Literal["raw"]


class Details(NamedTuple):
    """What `details=True` adds, laid out as the layer's output is.

    Attributes:
        raw: the last layer's output before its output site, for temporal activation regularization.
        h: of every step, one tensor a layer with both directions side by side.
        c: the same of the LSTM's cell state; None for other cells, and with `details="raw"`.
    """

    raw: Tensor | PackedSequence
    h: tuple[Tensor | PackedSequence, ...]
    c: tuple[Tensor | PackedSequence, ...] | None


def as_methods(noise: NoiseLike) -> tuple[Method, ...]:
    """Return methods as a tuple.

    Raises:
        ValueError: something in it is no method.
    """
    methods = () if noise is None else (noise,) if isinstance(noise, Method) else noise
    if isinstance(methods, str | type) or not isinstance(methods, Iterable):
        raise invalid("noise must be a method, a list of methods or None", noise, "Give e.g. rd.Zoneout().")
    methods = tuple(methods)
    for method in methods:
        if not isinstance(method, Method):
            raise invalid("noise must hold methods", method, "Make one, e.g. rd.Zoneout(), not its class or name.")
    return methods


if TYPE_CHECKING:
    _Base = nn.RNNBase
else:
    _Base = object


class Regularized(WeightsReadOnce, TorchTools, _Base):
    """Mixin over torch's recurrent layers; everything that is not noise is torch's.

    Attributes:
        noise: a method, a list of methods or None; may be reassigned at any time.
        backend: "auto", or the name of a backend that must run every call.
    """

    _noise: NoiseLike
    _methods: tuple[Method, ...]
    _plans: list[LayerPlan]
    _planned_dropout: float
    _initial: dict[str, Tensor] | None
    _left_out: tuple[str, ...]
    backend: str

    def _attach(self, noise: NoiseLike, backend: str) -> None:
        allow_tracing(Regularized)
        self.backend = check_backend(backend)
        self.noise = noise

    @property
    def cell(self) -> Cell:
        """The kind of cell: LSTM, GRU or RNN."""
        return CELL[self._mode]

    @property
    def _mode(self) -> Mode:
        return self.mode  # type: ignore[return-value]

    @property
    def noise(self) -> NoiseLike:
        """The methods of this layer, as they were given."""
        return self._noise

    @noise.setter
    def noise(self, noise: NoiseLike) -> None:
        methods = as_methods(noise)
        plans = self._make_plans(methods)
        self._check_references(plans)
        self._noise = noise if noise is None or isinstance(noise, Method) else methods
        self._methods, self._plans, self._planned_dropout, self._initial = methods, plans, self.dropout, None
        self._left_out = ()

    def change_rates(self, noise: NoiseLike) -> None:
        """Set `noise` to the methods that the layer has, at other rates; a schedule does so at every update.

        Their reference weights stay those of before, or of now where there are none yet; so do the notes of `describe`.
        """
        self.take_reference()
        initial, left_out = self._initial, self._left_out
        self.noise = noise
        self._initial, self._left_out = initial, left_out

    def take_reference(self) -> None:
        """Let `Mixout(reference="initial")` refer to the weights of now, unless it refers to some already.

        The first training forward does so too; before a checkpoint is loaded, do it yourself, or the reference will be
        the checkpoint's weights. Without such noise, nothing is copied.
        """
        sources = (source for plan in self.plans() for at_site in plan.values() for source in at_site)
        if self._initial is None and any(s.law == "mixture" and s.reference is None for s in sources):
            with no_modes():
                weights = {name: self._weight(name) for name in self._flat_weights_names if "weight" in name}
                plain = {name: unwrapped(weight) for name, weight in weights.items() if weight is not None}
                self._initial = {name: weight.detach().clone() for name, weight in plain.items()}

    def _make_plans(self, methods: tuple[Method, ...]) -> list[LayerPlan]:
        return plan_layers(
            methods, self.cell, self.num_layers, dropout=float(self.dropout), projected=self.proj_size > 0
        )

    def plans(self) -> list[LayerPlan]:
        """Return what acts at which site, one plan a layer, `dropout=` included."""
        if self._planned_dropout != self.dropout:
            self._plans, self._planned_dropout = self._make_plans(self._methods), self.dropout
        return self._plans

    def _names(self, layer: int, direction: int) -> tuple[str, ...]:
        suffix = f"_l{layer}" + "_reverse" * direction
        return tuple(part + suffix for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"))

    def _weights(self, layer: int, direction: int) -> Weights:
        w_ih, w_hh, b_ih, b_hh, w_hr = (self._weight(name) for name in self._names(layer, direction))
        return Weights(cast(Tensor, w_ih), cast(Tensor, w_hh), b_ih, b_hh, w_hr)

    @property
    def directions(self) -> int:
        """1, or 2 when bidirectional."""
        return 2 if self.bidirectional else 1

    def _sizes(self, layer: int, time: int, batch: int) -> Sizes:
        state = self.proj_size or self.hidden_size
        width = self.input_size if layer == 0 else state * self.directions
        return Sizes(time, batch, GATES[self.cell], width, self.hidden_size, state)

    def _check_references(self, plans: list[LayerPlan]) -> None:
        for layer, plan in enumerate(plans):
            for site, sources in plan.items():
                for direction in range(self.directions) if sources[0].reference is not None else ():
                    name = f"{site}_l{layer}" + "_reverse" * direction
                    given = (sources[0].reference or {}).get(name)
                    shape = tuple(getattr(self, name).shape)
                    if given is None or tuple(given.shape) != shape:
                        raise invalid(
                            f"the reference of {sources[0].method} needs {name} of shape {shape}",
                            None if given is None else tuple(given.shape),
                            "Give the state_dict of a layer like this one.",
                        )

    def _references(self, layer: int, direction: int, plan: LayerPlan) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for site, sources in plan.items():
            if sources[0].law == "mixture":
                name = f"{site}_l{layer}" + "_reverse" * direction
                if sources[0].reference is not None:
                    found[site] = sources[0].reference[name]
                    continue
                self.take_reference()
                initial = cast(dict[str, Tensor], self._initial)
                initial[name] = initial[name].to(self._any_weight.device)  # the layer may have moved since
                found[site] = initial[name]
        return found

    def _draw(self, time: int, batch: int, generator: torch.Generator | None) -> tuple[Masks, ...]:
        plans = self.plans()
        if not any(active(plan, training=True) for plan in plans):
            return (Masks(),) * (self.num_layers * self.directions)
        weight, key = self._any_weight, draw_key(generator)
        return tuple(
            draw(
                plan,
                key,
                layer,
                direction,
                self._sizes(layer, time, batch),
                dtype=weight.dtype,
                device=weight.device,
                references=self._references(layer, direction, plan),
            )
            for layer, plan in enumerate(plans)
            for direction in range(self.directions)
        )

    def sample_masks(
        self, seq_len: int, batch_size: int, *, generator: torch.Generator | None = None
    ) -> tuple[Masks, ...]:
        """Draw the masks of one training forward, to be given as `masks=`.

        Args:
            seq_len: T, steps of the padded batch.
            batch_size: B, examples.
            generator: torch's default CPU generator if None.

        Returns:
            One `Masks` for each layer and direction, in the order of the weights (l0, l0_reverse, l1, ...). After the
            same `torch.manual_seed`, they are those that a training forward draws.

        Raises:
            ValueError: a size below 0.
        """
        if min(seq_len, batch_size) < 0:
            raise invalid("seq_len and batch_size must be 0 or more", (seq_len, batch_size), "Give the input's sizes.")
        return self._draw(seq_len, batch_size, generator)

    def _masks(self, time: int, batch: int, given: Sequence[Masks] | None) -> tuple[Masks, ...]:
        count = self.num_layers * self.directions
        if given is not None:
            masks = (given,) if isinstance(given, Masks) else tuple(given)
            if len(masks) != count or not all(isinstance(m, Masks) for m in masks):
                raise invalid(
                    f"masks must hold {count} rd.Masks, one for each layer and direction",
                    f"{len(masks)} of {sorted({type(m).__name__ for m in masks})}",
                    "Take what sample_masks returns.",
                )
            for index, m in enumerate(masks):
                check_masks(m, self.cell, self._sizes(index // self.directions, time, batch))
            return masks
        if self.training:
            return self._draw(time, batch, None)
        weight = self._any_weight
        plain = [constants(plan, dtype=weight.dtype, device=weight.device) for plan in self.plans()]
        return tuple(masks for masks in plain for _ in range(self.directions))

    def _traces(self, data: Tensor) -> bool:
        """Say whether a compiled graph can hold torch's own forward.

        It would draw the masks of `dropout=` once for all calls, and can't take the gradient of oneDNN's LSTM. An
        exported program has torch's layer in any case, as it would have in place of ours.
        """
        if exporting():
            return True
        if self.training and self.dropout:
            return False
        return self.cell != "LSTM" or data.is_cuda or not torch.is_grad_enabled()

    def noiseless(self) -> bool:
        """Say whether nothing but `dropout=` acts now: that is torch's own layer, random stream included."""
        live = (noise for plan in self.plans() for s in active(plan, training=self.training).values() for noise in s)
        return all(noise.method == DROPOUT_ARGUMENT for noise in live)

    def _is_plain(self, input: Tensor | PackedSequence) -> bool:
        """Say whether torch's own forward gives the result."""
        if self.backend not in ("auto", "torch"):
            return False
        data = input.data if isinstance(input, PackedSequence) else input
        # cuDNN refuses a backward pass in evaluation mode; our way of calling it does not.
        if data.is_cuda and not self.training and torch.is_grad_enabled():
            return False
        if torch.compiler.is_compiling() and not self._traces(data):
            return False
        if lacks_rules():
            return False
        return self.noiseless() and not outruns_torch(self, input)

    def _initial_states(self, hx: State | None, x: Tensor, layout: Layout) -> list[Tensor]:
        """Return h_0 and, for LSTM, c_0, each (L·D, B, H)."""
        batch, count = x.shape[1], self.num_layers * self.directions
        widths = (self.proj_size or self.hidden_size, self.hidden_size)[: 1 + (self.cell == "LSTM")]
        if hx is None:
            return [x.new_zeros(count, batch, width) for width in widths]
        if isinstance(hx, Tensor) == (self.cell == "LSTM") or (not isinstance(hx, Tensor) and len(hx) != 2):
            form = "a pair (h_0, c_0)" if self.cell == "LSTM" else "one tensor h_0"
            # A RuntimeError, as torch raises for a state that is not of its cell.
            raise RuntimeError(
                f"hx of {self.cell} must be {form}; got {type(hx).__name__}. Give what the layer returned."
            )
        states = [hx] if isinstance(hx, Tensor) else list(hx)
        for name, state, width in zip(("h_0", "c_0"), states, widths, strict=False):
            wanted = (count, batch, width) if layout.batched else (count, width)
            if tuple(state.shape) != wanted:
                raise RuntimeError(f"Expected {name} size {wanted}, got {list(state.shape)}")
        return states if layout.batched else [state.unsqueeze(1) for state in states]

    def _autocast(self, x: Tensor, h0: Tensor) -> torch.dtype | None:
        """Return the dtype that torch's layer would give under `torch.autocast`; None without it, or for float64."""
        kind = x.device.type
        # Dynamo can't trace the question whether a device has autocast; where it traces, there is one that computes.
        has_autocast = torch.compiler.is_compiling() or torch.amp.is_autocast_available(kind)
        if x.dtype == torch.float64 or not has_autocast or not torch.is_autocast_enabled(kind):
            return None
        dtype = torch.get_autocast_dtype(kind)
        # On the CPU, only the products of torch's GRU are narrow; its state is not.
        return torch.promote_types(h0.dtype, dtype) if self.cell == "GRU" and kind == "cpu" else dtype

    def _forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None,
        lengths: Tensor | list[int] | None,
        masks: Sequence[Masks] | None,
        details: WhichDetails,
    ) -> Any:
        if isinstance(stand_in := cast(Any, input), Proxy):
            return symbolic_call(self, stand_in, hx=hx, lengths=lengths, masks=masks, details=details)
        with weights_evaluated_once(self):
            return self._run(input, hx, lengths, masks, details)

    def _run(
        self,
        input: Tensor | PackedSequence,
        hx: State | None,
        lengths: Tensor | list[int] | None,
        masks: Sequence[Masks] | None,
        details: WhichDetails,
    ) -> Any:
        if details not in (False, True, "raw"):
            raise invalid('details must be True, False or "raw"', details, "Give True for all of them.")
        if masks is None and self.training:
            masks = given_masks(self, input)
        if lengths is None and masks is None and not details and self._is_plain(input):
            return super().forward(input) if hx is None else super().forward(input, hx)
        self.check_input(
            *((input.data, input.batch_sizes) if isinstance(input, PackedSequence) else (_three(input), None))
        )
        x, counts, layout = read(input, lengths, self.batch_first)
        if not exporting() and len(x) == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        states = self._initial_states(hx, x, layout)
        drawn = self._masks(x.shape[0], x.shape[1], masks)
        autocast = self._autocast(x, states[0])
        layers: list[list[Result]] = []
        for layer in range(self.num_layers):
            results = []
            for direction in range(self.directions):
                index = layer * self.directions + direction
                c0 = states[1][index] if len(states) > 1 else None
                weights = self._weights(layer, direction)
                call = Call(self._mode, x, states[0][index], c0, weights, drawn[index], counts, direction == 1)
                results.append(run(call, self.backend, steps=details not in (False, "raw"), autocast=autocast))
            x = _beside([result.y for result in results])
            layers.append(results)
        # Torch's output may be changed in place, but for that of its float32 LSTM; ours is what the backward reads.
        in_place = self.cell != "LSTM" or x.dtype != torch.float32
        if x is layers[-1][0].h and in_place and masks is None and torch.is_grad_enabled() and self.noiseless():
            x = x.clone()
        return self._returned(x, layers, layout, details)

    def _returned(self, y: Tensor, layers: list[list[Result]], layout: Layout, details: WhichDetails) -> Any:
        flat = [result for results in layers for result in results]
        h_n = layout.restore_state(torch.stack([result.h_n for result in flat]))
        state: State = h_n
        if self.cell == "LSTM":
            state = h_n, layout.restore_state(torch.stack([r.c_n for r in flat if r.c_n is not None]))
        output = layout.restore(y)
        if not details:
            return output, state
        h = tuple(layout.restore(_beside([r.h for r in results])) for results in layers)
        c = None
        if self.cell == "LSTM" and details != "raw":
            c = tuple(layout.restore(_beside([r.c for r in rs if r.c is not None])) for rs in layers)
        return output, state, Details(h[-1], h, c)

    def extra_repr(self) -> str:
        """Torch's, with noise and backend where they are set."""
        parts = [super().extra_repr()]
        if self._methods:
            parts.append(f"noise={self._methods[0] if len(self._methods) == 1 else list(self._methods)}")
        if self.backend != "auto":
            parts.append(f"backend={self.backend!r}")
        return ", ".join(parts)


def _beside(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _three(input: Tensor) -> Tensor:
    """Give one sequence (T, F) the batch axis that torch's check wants."""
    if input.dim() not in (2, 3):
        raise invalid("input must have 2 or 3 axes", tuple(input.shape), "Give (T, B, F), or (T, F) for one sequence.")
    return input.unsqueeze(1) if input.dim() == 2 else input
