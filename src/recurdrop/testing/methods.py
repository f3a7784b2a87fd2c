"""The conformance suite of a method: subclass it, name the method and what it promises, and pytest does the rest."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

import recurdrop as rd
from recurdrop.methods.base import Method
from recurdrop.nn.base import Regularized
from recurdrop.sites import CELLS, SITES, Masks
from recurdrop.testing.compare import FORMS, LAYERS, agree, batch, outcome

OURS = {"LSTM": rd.LSTM, "GRU": rd.GRU, "RNN": rd.RNN}
I, H = 3, 4


def check(condition: bool, message: object) -> None:
    """Raise AssertionError unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def tensors(masks: tuple[Masks, ...]) -> list[tuple[str, Tensor]]:
    """List every tensor of masks with its site; of an affine pair, both."""
    found = []
    for m in masks:
        for site, value in m._asdict().items():
            if value is not None:
                found += [(site, part) for part in (value if isinstance(value, tuple) else (value,))]
    return found


class MethodConformance:
    """What every method must hold to.

    Attributes:
        method: at rates strictly between 0 and 1.
        shapes: for each site on an LSTM of one layer, the axes of its mask in letters, `1` where it is shared: T, B, G,
            I, H, R and C (rows and columns of a matrix). The other cells have the same where they have the site.
        evaluation: for each site with a constant at evaluation, that constant; empty for identity.
        cells: on which the method is defined.
        tolerance: of backends against the reference in float64, relative.
        at_one: whether every rate may be 1.
        touches_forward: whether the noise changes the forward pass, not the gradient alone.
        seed: of the forward that must give every parameter a gradient; another than 0 where a mask shared by the batch
            happens to drop all units of the tiny layer.
    """

    method: ClassVar[Method]
    shapes: ClassVar[dict[str, str]]
    evaluation: ClassVar[dict[str, float]] = {}
    cells: ClassVar[tuple[str, ...]] = CELLS
    tolerance: ClassVar[float] = 1e-10
    at_one: ClassVar[bool] = True
    touches_forward: ClassVar[bool] = True
    seed: ClassVar[int] = 0

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Run each test on the cells and forms that it asks for."""
        if "cell" in metafunc.fixturenames:
            metafunc.parametrize("cell", self.cells)
        if "form" in metafunc.fixturenames:
            metafunc.parametrize("form", FORMS)

    def make(self, cell: str, noise: Any = "method", *, width: int = I, hidden: int = H, **options: Any) -> Any:
        """Make a float64 layer with fixed weights."""
        with torch.random.fork_rng():
            torch.manual_seed(7)
            given = self.method if noise == "method" else noise
            layer = OURS[cell](width, hidden, dtype=torch.float64, noise=given, **options)
            for p in layer.parameters():
                p.data.uniform_(-0.7, 0.7)
        return layer

    def at(self, rate: float) -> Method:
        """Return the method with every rate that is not 0 set to one value."""
        fields = [f.name for f in dataclasses.fields(self.method) if "rate" in f.metadata]
        fields = [f for f in fields if getattr(self.method, f)]
        return dataclasses.replace(self.method, **dict.fromkeys(fields or ["std"], rate))

    def sample(
        self, cell: str, *, time: int = 6, examples: int = 5, seed: int = 0, **options: Any
    ) -> tuple[Masks, ...]:
        """Draw masks from one seed."""
        layer: Regularized = self.make(cell, **options)
        return layer.sample_masks(time, examples, generator=torch.Generator().manual_seed(seed))

    # What the user sees -------------------------------------------------------------------------------------------

    def test_backends_agree_with_the_reference(self, cell: str, form: str) -> None:
        """Outputs, states and every gradient, on every backend that supports the noise."""
        x = batch(form, I)
        expected = outcome(self.make(cell, backend="reference", **FORMS[form]), x)
        ran = 0
        for backend in ("auto", "torch", "eager"):
            layer = self.make(cell, backend=backend, **FORMS[form])
            try:
                found = outcome(layer, x)
            except rd.BackendError as refusal:
                check(backend != "auto" and "can't run this" in str(refusal), refusal)
                continue
            agree(found, expected, self.tolerance)
            ran += backend != "auto"
        check(ran > 0 or getattr(self.method, "per_example", False), "no backend but the reference ran")

    def test_noise_changes_the_result_in_training_only(self, cell: str, form: str) -> None:
        """Two forwards differ in training and are equal at evaluation, which takes no random number."""
        x = batch(form, I)
        layer = self.make(cell, self.at(0.6), **FORMS[form])
        a, b, plain = outcome(layer, x), outcome(layer, x, seed=1), outcome(self.make(cell, None, **FORMS[form]), x)
        name = "output" if self.touches_forward else "gradient of h_0"
        check(not torch.equal(a[name], b[name]), "two seeds gave one result")
        check(not torch.equal(a[name], plain[name]), "noise has no effect")
        layer.eval()
        check(self._draws_nothing(layer, x), "evaluation drew a number")
        agree(outcome(layer, x), outcome(layer, x, seed=1), 0)

    def _draws_nothing(self, layer: Any, x: Tensor | PackedSequence) -> bool:
        torch.manual_seed(5)
        before = torch.get_rng_state()
        layer(x)
        return torch.equal(before, torch.get_rng_state())

    def test_evaluation_follows_the_rule(self, cell: str, form: str) -> None:
        """Identity, or the declared constants at their sites."""
        x = batch(form, I)
        layer = self.make(cell, **FORMS[form]).eval()
        plain = self.make(cell, None, backend="reference", **FORMS[form]).eval()
        constants = {s: torch.full((1, 1, 1), v, dtype=torch.float64) for s, v in self._evaluation(cell).items()}
        count = layer.num_layers * layer.directions
        given = {"masks": (Masks(**constants),) * count} if constants else {}
        agree(outcome(layer, x), outcome(plain, x, **given), self.tolerance)

    def _evaluation(self, cell: str) -> dict[str, float]:
        return {site: value for site, value in self.evaluation.items() if cell in SITES[site].cells}

    def test_rate_zero_is_no_noise_bit_for_bit(self, cell: str, form: str) -> None:
        """Forward and backward, and no random number is taken."""
        x = batch(form, I)
        layer = self.make(cell, self.at(0.0), **FORMS[form])
        agree(outcome(layer, x), outcome(self.make(cell, None, **FORMS[form]), x), 0)
        check(self._draws_nothing(layer, x), "a rate of 0 drew a number")

    def test_rate_one_is_defined(self, cell: str) -> None:
        """Everything is finite; what is dropped is 0."""
        if not self.at_one:
            with pytest.raises(ValueError, match="must be a number in"):
                self.at(1.0)
            return
        layer = self.make(cell, self.at(1.0))
        for name, value in outcome(layer, batch("padded", I)).items():
            check(bool(torch.isfinite(value).all()), f"{name} is not finite")
        for site, value in tensors(self.sample(cell, noise=self.at(1.0))):
            if SITES[site].operation == "multiply":
                check(not value.any(), f"something is left at {site}")
            elif SITES[site].operation == "keep old":
                check(bool(value.all()), f"something is new at {site}")

    def test_one_integer_makes_all_masks(self, cell: str, form: str) -> None:
        """A training forward and `sample_masks` take the same one integer."""
        x = batch(form, I)
        layer = self.make(cell, **FORMS[form])
        examples = int(x.batch_sizes[0]) if isinstance(x, PackedSequence) else x.shape[1]
        torch.manual_seed(3)
        masks = layer.sample_masks(5, examples)
        after = torch.get_rng_state()
        torch.manual_seed(3)
        torch.randint(2**63 - 1, ())
        check(torch.equal(after, torch.get_rng_state()), "not exactly one integer was taken")
        agree(outcome(layer, x, masks=masks), outcome(layer, x, seed=3), 0)

    # What the masks are -------------------------------------------------------------------------------------------

    def test_masks_have_the_promised_axes(self, cell: str) -> None:
        """Exactly the promised sites and shapes, fresh along every axis that is not shared."""
        sizes = {"T": 6, "B": 5, "G": {"LSTM": 4, "GRU": 3, "RNN": 1}[cell], "I": 40, "H": 40, "1": 1}
        sizes |= {"R": sizes["G"] * 40, "C": 40}
        masks = self.sample(cell, width=40, hidden=40, noise=self.at(0.5))[0]
        found = {site for site, value in masks._asdict().items() if value is not None}
        expected = {site for site in self.shapes if cell in SITES[site].cells}
        check(found == expected, f"sites {found}, not {expected}")
        for site in expected:
            value = getattr(masks, site)
            value = value[1] if isinstance(value, tuple) else value
            letters = self.shapes[site].split()
            if sizes["G"] == 1 and "G" in letters:
                letters.remove("G")
            check(tuple(value.shape) == tuple(sizes[a] for a in letters), f"{site} has shape {tuple(value.shape)}")
            for axis, letter in enumerate(letters):
                if sizes[letter] > 1:
                    first = value.narrow(axis, 0, 1).expand_as(value)
                    check(not torch.equal(first, value), f"{site} does not vary along {letter}")

    def test_masks_follow_their_law(self, cell: str) -> None:
        """Values, and their frequency within five standard errors."""
        p = 0.3
        for site, value in tensors(self.sample(cell, noise=self.at(p), time=40, examples=40, width=30, hidden=30)):
            self.check_law(site, value, p)

    def check_law(self, site: str, value: Tensor, p: float) -> None:
        """Check one mask: bits, divided by 1 - p where the method scales. Override for another law."""
        scale = self.scale(site, p)
        dropped = value if value.dtype == torch.bool else value == 0
        kept = value[~dropped]
        if value.dtype != torch.bool:
            check(bool((kept - scale).abs().le(1e-12).all()), f"{site} keeps by other values than {scale}")
        deviation = math.sqrt(p * (1 - p) / value.numel())
        frequency = dropped.double().mean().item()
        check(abs(frequency - p) <= 5 * deviation, f"{site} drops {frequency:.4f}, not {p}")

    def scale(self, site: str, p: float) -> float:
        """Return the value of what is kept; override for unscaled bits."""
        del site
        return 1 / (1 - p)

    def test_layers_directions_and_seeds_differ(self, cell: str) -> None:
        """Each layer, direction and seed has masks of its own, and one seed gives them again."""
        options = {"num_layers": 2, "bidirectional": True, "hidden": 20, "width": 40, "noise": self.at(0.5)}
        a, b, c = (self.sample(cell, seed=seed, time=30, examples=30, **options) for seed in (0, 0, 1))
        for (_, x), (_, y) in zip(tensors(a), tensors(b), strict=True):
            check(torch.equal(x, y), "one seed gave two masks")
        differ = [x for (_, x), (_, y) in zip(tensors(a), tensors(c), strict=True) if not torch.equal(x, y)]
        check(len(differ) > 0, "two seeds gave one mask")
        self.check_independent(a)

    def check_independent(self, masks: tuple[Masks, ...]) -> None:
        """Check that no two layers or directions share a mask. Override where they should."""
        for site in SITES:
            drawn = [getattr(m, site) for m in masks if getattr(m, site) is not None]
            drawn = [d[1] if isinstance(d, tuple) else d for d in drawn]
            for i, x in enumerate(drawn):
                for y in drawn[:i]:
                    check(x.shape != y.shape or not torch.equal(x, y), f"two layers or directions share {site}")

    def test_rows_belong_to_examples(self, cell: str) -> None:
        """A permuted batch with permuted masks gives permuted results, and batch_first changes no mask."""
        x: Any = batch("padded", I, examples=5)
        layer, order = self.make(cell, bidirectional=True), torch.tensor([3, 0, 4, 1, 2])
        masks = self.sample(cell, time=5, bidirectional=True)
        moved = tuple(Masks(**{s: _take(s, v, order) for s, v in m._asdict().items()}) for m in masks)
        y, again = layer(x, masks=masks)[0], layer(x[:, order], masks=moved)[0]
        check(torch.allclose(y[:, order], again, rtol=0, atol=1e-12), "rows of masks are not those of examples")
        first = self.make(cell, bidirectional=True, batch_first=True)
        turned = first(x.transpose(0, 1), masks=masks)[0].transpose(0, 1)
        check(torch.allclose(turned, y, rtol=0, atol=1e-12), "batch_first changes the noise")

    def test_ragged_rows_are_the_callers(self, cell: str) -> None:
        """Packed or with lengths, in both directions, each example gets what it gets alone with its row and steps."""
        x: Any = batch("padded", I, examples=5)
        lengths = torch.tensor([2, 5, 1, 4, 3])
        layer, masks = self.make(cell, bidirectional=True), self.sample(cell, time=5, bidirectional=True)
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        from_packed, _ = pad_packed_sequence(layer(packed, masks=masks)[0])
        padded = layer(x, masks=masks, lengths=lengths)[0]
        for b, steps in enumerate(lengths.tolist()):
            own = tuple(
                Masks(**{s: _first(s, _take(s, v, torch.tensor([b])), steps) for s, v in m._asdict().items()})
                for m in masks
            )
            alone = layer(x[:steps, b : b + 1], masks=own)[0][:, 0]
            for name, found in (("packed", from_packed), ("lengths=", padded)):
                close = torch.allclose(found[:steps, b], alone, rtol=0, atol=1e-12)
                check(close and not found[steps:, b].any(), f"{name}: example {b} has another's noise")

    # What the layer stays -----------------------------------------------------------------------------------------

    def test_parameters_learn_and_stay(self, cell: str, form: str) -> None:
        """Every raw parameter gets a finite gradient that is not all 0, and no forward changes it."""
        layer = self.make(cell, self.at(0.3), **FORMS[form])
        before = copy.deepcopy(layer.state_dict())
        for name, value in outcome(layer, batch(form, I), seed=self.seed).items():
            check(bool(torch.isfinite(value).all()), f"{name} is not finite")
            check(bool(value.any()), f"{name} is all 0")
        check(all(torch.equal(before[k], v) for k, v in layer.state_dict().items()), "a forward changed a parameter")
        torchs = LAYERS[cell](I, H, dtype=torch.float64, **FORMS[form])
        check(list(before) == list(torchs.state_dict()), "the state_dict is not torch's")
        torchs.load_state_dict(before)
        layer.load_state_dict(torchs.state_dict())

    def test_copies(self, cell: str) -> None:
        """deepcopy, pickle and replace give a layer and a method that do the same."""
        layer, x = self.make(cell), batch("padded", I)
        expected = outcome(layer, x)
        agree(outcome(copy.deepcopy(layer), x), expected, 0)
        agree(outcome(pickle.loads(pickle.dumps(layer)), x), expected, 0)  # noqa: S301 - made in the line itself
        check(dataclasses.replace(self.method) == self.method, "replace changes the method")
        check(pickle.loads(pickle.dumps(self.method)) == self.method, "pickle changes the method")  # noqa: S301

    def test_gradients_by_finite_differences(self, cell: str) -> None:
        """On the reference, with the masks held."""
        if not self.touches_forward:
            return
        layer = self.make(cell, width=2, hidden=2, backend="reference", bidirectional=True)
        masks = layer.sample_masks(3, 2, generator=torch.Generator().manual_seed(0))
        x: Any = batch("padded", 2, time=3, examples=2)
        names = [name for name, _ in layer.named_parameters()]

        def run(x: Tensor, *parameters: Tensor) -> Tensor:
            given = dict(zip(names, parameters, strict=True))
            result: Tensor = torch.func.functional_call(layer, given, (x,), {"masks": masks})[0]
            return result

        leaves = [p.detach().clone().requires_grad_() for p in layer.parameters()]
        check(torch.autograd.gradcheck(run, (x.requires_grad_(), *leaves)), "a gradient is wrong")

    def test_checkpointing_repeats_the_masks(self, cell: str) -> None:
        """Activation checkpointing gives the gradients of one plain run."""
        layer = self.make(cell)
        x: Any = batch("padded", I)

        def gradients(checkpointed: bool) -> list[Tensor]:
            torch.manual_seed(11)
            leaf = x.clone().requires_grad_()
            y = checkpoint(lambda v: layer(v)[0], leaf, use_reentrant=False) if checkpointed else layer(leaf)[0]
            return list(torch.autograd.grad(y.square().sum(), [leaf, *layer.parameters()]))

        pairs = zip(gradients(True), gradients(False), strict=True)
        check(all(torch.equal(a, b) for a, b in pairs), "the second forward drew other masks")

    # What it refuses and says -------------------------------------------------------------------------------------

    def test_refuses_what_is_no_rate(self) -> None:
        """One message form, with the value in it."""
        for bad in (-0.1, 1.5, float("nan"), float("inf"), True, "0.5", None, 1j):
            if bad == 1.5 and not any("rate" in f.metadata for f in dataclasses.fields(self.method)):
                continue
            field = next(f.name for f in dataclasses.fields(self.method) if getattr(self.method, f.name))
            if bad is None and field == "c":
                continue
            with pytest.raises(ValueError, match="must be a number") as raised:
                dataclasses.replace(self.method, **{field: bad})
            check(repr(bad) in str(raised.value) and field in str(raised.value), raised.value)

    def test_refuses_a_cell_without_its_sites(self) -> None:
        """With the method, the site and the reason."""
        for cell in set(CELLS) - set(self.cells):
            with pytest.raises(rd.UndefinedSiteError, match=rf"{type(self.method).__name__} acts at the .* site; got"):
                self.make(cell)

    def test_says_what_it_is(self) -> None:
        """The docstring has every part, and the class a name, a citation and published rates."""
        doc = type(self.method).__doc__ or ""
        for part in ("Equation:", "Sites:", "Shared over:", "Evaluation:", "Source:", "Authors' code:"):
            check(part in doc, f"the docstring lacks {part}")
        check(set(self.cells) <= set(type(self.method).cells()), f"cells() says {type(self.method).cells()}")
        check(bool(type(self.method).cite and type(self.method).sharing), "cite or sharing is empty")
        check(isinstance(type(self.method).published(), type(self.method)), "published() makes another method")


def _take(site: str, value: Any, order: Tensor) -> Any:
    if value is None or "batch" not in SITES[site].axes:
        return value
    if SITES[site].operation == "affine":
        return value[order] if isinstance(value, Tensor) and value.dim() == 3 else value
    axis = 0 if site == "state" else 1
    return value.index_select(axis, order) if value.shape[axis] > 1 else value


def _first(site: str, value: Any, steps: int) -> Any:
    """Keep the first steps of a mask that varies over time."""
    return value[:steps] if value is not None and "time" in SITES[site].axes else value
