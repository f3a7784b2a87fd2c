"""Make the pages of methods, public names and settings of recipes from the code: `python docs/generate.py`."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import importlib.util
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

import docstrings
import torch
from docstrings import cell, table

import recurdrop as rd
from recurdrop import kinds, methods
from recurdrop.kinds.base import OPTIONAL
from recurdrop.models.settings import TrainingSettings
from recurdrop.ops import native
from recurdrop.ops.contract import Call, Problem, Weights
from recurdrop.ops.dispatch import BACKENDS
from recurdrop.plan import Where
from recurdrop.sites import CELLS, SITES
from recurdrop.tables import type_name

HERE = Path(__file__).parent
MADE = ("methods", "reference")
LAYERS: dict[str, Any] = {"LSTM": rd.LSTM, "GRU": rd.GRU, "RNN": rd.RNN}
LETTERS = "T steps, B examples, G gates, I and H the widths of a layer's input and state; 1: one mask for all."


def pages() -> dict[str, str]:
    """Return the text of every generated page by its path below `docs/`."""
    chosen = [methods.get(name) for name in methods.names()]
    found = {f"methods/{method.name}.md": method_page(method) for method in chosen}
    found["methods/README.md"] = method_index(sorted(chosen, key=lambda m: m.__name__.lower()))
    names = dict(public())
    files = files_of(names)
    found |= {f"reference/{files[name]}": reference_page(name, thing) for name, thing in names.items()}
    found["reference/README.md"] = reference_index(names)
    found["reference/recipe-settings.md"] = settings_page()
    return {path: text.rstrip() + "\n" for path, text in found.items()}


def _made(where: str) -> str:
    return f"<!-- Made by docs/generate.py from {where}; change that and run `make docs`. -->"


# Methods ----------------------------------------------------------------------------------------------------------


def method_page(method: type[rd.Method]) -> str:
    """Return the page of one method."""
    doc = docstrings.parse(inspect.getdoc(method) or "")
    fields = dataclasses.fields(method)
    signature = ", ".join(f"{field.name}={field.default!r}" for field in fields)
    arguments = [(f"`{f.name}`", f"`{f.default!r}`", cell(_meaning(f))) for f in fields]
    parts = [
        _made(f"the docstring of recurdrop.{method.__name__}"),
        f"# {method.__name__}",
        docstrings.prose(doc.lead),
        f"```python\nrd.{method.__name__}({signature})\n```",
        *(docstrings.section(part) for part in doc.sections),
        "## Arguments",
        table(("argument", "default", "what it is"), arguments),
        "## Example",
        _example(method),
        "## What it puts into a stack of two layers",
        table(("layer", "site", "what it acts on", "rate", "mask", "at evaluation"), _uses(method)),
        LETTERS,
        "## What it costs",
        _cost(method),
        f"Cited as: {docstrings.prose(method.cite)}. All methods: [index](README.md).",
    ]
    return "\n\n".join(part for part in parts if part)


def _meaning(field: dataclasses.Field[Any]) -> str:
    options = field.metadata.get("options", ())
    words = [repr(option) for option in options if isinstance(option, str)]
    return field.metadata["doc"] + (f"; one of {', '.join(f'`{word}`' for word in words)}" if words else "")


def published(method: type[rd.Method]) -> str:
    """Return the code that makes a method at its published rates."""
    given = ", ".join(f"{name}={value!r}" for name, value in method.published_rates.items())
    return f"rd.{method.__name__}({given})"


def spelling(method: type[rd.Method]) -> str:
    """Return the same for the command line."""
    given = ",".join(f"{name}={value}" for name, value in method.published_rates.items())
    return method.name + (f":{given}" if given else "")


def _example(method: type[rd.Method]) -> str:
    layer = method.cells()[0]
    return f"""```python
import torch
import recurdrop as rd

x = torch.randn(35, 20, 32)  # T, B, I
rnn = rd.{layer}(32, 64, num_layers=2, noise={published(method)})
y, state = rnn(x)  # in training: masks drawn for this call
y, state = rnn.eval()(x)  # the rule at evaluation
```

The rates are those under Source. The same on the command line:
`recurdrop compare my.txt --methods {spelling(method)}`."""


def _layer(method: type[rd.Method]) -> Any:
    with torch.random.fork_rng():
        return LAYERS[method.cells()[0]](32, 64, num_layers=2, noise=method.published())


def _uses(method: type[rd.Method]) -> list[tuple[str, ...]]:
    return [
        (
            use.layer,
            f"`{use.site}`",
            cell(SITES[use.site].tensor),
            f"{use.rate:g}",
            cell(use.shape),
            "identity" if use.evaluation == "off" else use.evaluation,
        )
        for use in rd.describe(_layer(method)).uses
        if use.rate > 0
    ]


def refusals(method: type[rd.Method]) -> dict[str, str]:
    """Return why each backend that can't run the published form can't; what this machine lacks does not count."""
    layer = _layer(method)
    x, state = torch.zeros(2, 2, 32), torch.zeros(2, 64)
    found = {}
    for masks in layer.sample_masks(2, 2, generator=torch.Generator().manual_seed(0)):
        problem = Problem.of(Call(layer._mode, x, state, state, Weights(x, x), masks, None, False))
        for name, backend in BACKENDS.items():
            reason = backend.supports(problem)
            if reason is not None and reason != native.missing():
                found[name] = reason
    return found


def _cost(method: type[rd.Method]) -> str:
    inside = [f"`{site}`" for site in method.sites() if SITES[site].in_loop]
    refused = refusals(method)
    where = f"Inside the time loop, at {' and '.join(inside)}." if inside else "Nothing inside the time loop."
    if not refused:
        return f"{where} Every backend runs it, torch's own kernels (oneDNN, cuDNN) included."
    can = ", ".join(f"`{name}`" for name in BACKENDS if name not in refused)
    return f"{where} It runs on {can}. " + " ".join(
        f"Not on `{name}`: {docstrings.prose(reason)}." for name, reason in refused.items()
    )


def reach(method: type[rd.Method]) -> tuple[set[str], set[str]]:
    """Return the sites of the published form, and those that one other option reaches besides."""
    base = method.published()
    where = [Where(c, layer, 2) for c in method.cells() for layer in (0, 1)]
    plain = {noise.site for place in where for noise in base.plan(place) if noise.rate > 0}
    more: set[str] = set()
    for field in dataclasses.fields(method):
        for option in field.metadata.get("options", ()):
            # an option may exclude the rates of the published form
            with contextlib.suppress(ValueError):
                other = dataclasses.replace(base, **{field.name: option})
                more |= {noise.site for place in where for noise in other.plan(place)}
    more |= set(method.sites())
    return plain, more - plain


def method_index(chosen: list[type[rd.Method]]) -> str:
    """Return the index of the methods with both halves of the feature matrix."""
    sites, facts = [], []
    for method in chosen:
        link = f"[{method.__name__}]({method.name}.md)"
        plain, more = reach(method)
        sites.append((link, *("●" if site in plain else "○" if site in more else "" for site in SITES)))
        constants = [row[1] for row in _uses(method) if row[5] != "identity"]
        evaluation = f"constant at {', '.join(sorted(set(constants)))}" if constants else "identity"
        cells = "all" if method.cells() == CELLS else ", ".join(method.cells())
        refused = refusals(method)
        runs = "all" if not refused else f"all but {', '.join(refused)}"
        facts.append((link, cell(method.sharing), evaluation, cells, runs, cell(method.cite)))
    where = [
        (f"`{s.name}`", cell(s.tensor), s.operation, "inside" if s.in_loop else "outside", ", ".join(s.cells))
        for s in SITES.values()
    ]
    return "\n\n".join(
        [
            _made("the methods and `sites.py`"),
            "# Methods",
            "One page each, with equation, sites, sharing, rule at evaluation, source and where the authors' own code "
            "differs. They combine in lists: `noise=[rd.WeightDrop(0.5), rd.Locked(input=0.4)]`. Which of them another "
            "library means by its argument: [which dropout](../which-dropout.md).",
            "## Where the noise enters",
            "● in the published form, ○ with other rates or options of the same method.",
            table(("method", *(f"`{name}`" for name in SITES)), sites),
            "## What a mask is shared over, and what runs it",
            table(("method", "one mask shared over", "at evaluation", "cells", "backends", "source"), facts),
            f'Backends, in the order in which `backend="auto"` asks them: {", ".join(f"`{b}`" for b in BACKENDS)}. '
            "`native` and `recompute` are compiled and run on the CPU; `torch` is torch's own kernels (oneDNN, cuDNN); "
            "`eager` and `reference` run on any device. The column is for the published form.",
            "## The sites",
            table(("site", "what the noise acts on", "what it does", "the time loop", "cells"), where),
            LETTERS,
        ]
    )


# Public names -----------------------------------------------------------------------------------------------------


def exported(module: str) -> list[str]:
    """Return the names that a module exports, imported as themselves or in `__all__`, without importing it.

    What a module imports for type checkers alone counts: the package imports its public names when they are used.
    """
    spec = importlib.util.find_spec(module)
    found: list[str] = []
    body = ast.parse(Path(spec.origin).read_text("utf-8")).body if spec and spec.origin else []
    for node in [*body, *(inner for block in body if isinstance(block, ast.If) for inner in block.body)]:
        if isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if alias.name == alias.asname]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            found += ast.literal_eval(node.value)
    return found


def public() -> Iterator[tuple[str, Any]]:
    """Yield every public class and function but the methods, by its shortest name below `recurdrop`."""
    seen: set[int] = set()
    modules = sorted(m.name for m in pkgutil.iter_modules(rd.__path__) if not m.name.startswith("_"))
    for part in ("", *modules):
        module = f"recurdrop.{part}".rstrip(".")
        for name in exported(module):
            thing = getattr(importlib.import_module(module), name)
            if not inspect.isclass(thing) and not inspect.isfunction(thing):
                continue
            method = inspect.isclass(thing) and issubclass(thing, rd.Method) and thing is not rd.Method
            if method or id(thing) in seen:
                continue
            seen.add(id(thing))
            yield f"{part}.{name}".lstrip("."), thing


def files_of(names: dict[str, Any]) -> dict[str, str]:
    """Return the file of each name's page; two names that only differ in case get files that differ in more."""
    found: dict[str, str] = {}
    for name in sorted(names):
        taken = {file.lower() for file in found.values()}
        found[name] = f"{name}_.md" if f"{name}.md".lower() in taken else f"{name}.md"
    return found


class _Plain(str):
    """An annotation that prints without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def signature(name: str, thing: Any) -> str:
    """Return how a class or function is called, annotations included, on one line or one argument a line."""
    try:
        found = inspect.signature(thing)
    except ValueError:
        return name
    bare = found.replace(
        parameters=[
            p.replace(annotation=_annotation(p.annotation)) for p in found.parameters.values() if p.name != "self"
        ],
        return_annotation=_annotation(found.return_annotation),
    )
    line = name + re.sub(r" at 0x[0-9a-f]+", "", str(bare)).removesuffix(" -> None")
    if len(line) <= 100:
        return line
    inner = ",\n    ".join(re.sub(r" at 0x[0-9a-f]+", "", str(p)) for p in _with_marks(bare))
    back = "" if bare.return_annotation in (inspect.Signature.empty, "None") else f" -> {bare.return_annotation}"
    return f"{name}(\n    {inner},\n){back}"


def _annotation(given: Any) -> Any:
    text = getattr(given, "__forward_arg__", given)
    return _Plain(text) if isinstance(text, str) else given


def _with_marks(found: inspect.Signature) -> list[Any]:
    """Return the parameters, with the `*` before those that are keyword-only."""
    parameters: list[Any] = list(found.parameters.values())
    marks = [p.kind for p in parameters]
    if inspect.Parameter.KEYWORD_ONLY in marks and inspect.Parameter.VAR_POSITIONAL not in marks:
        parameters.insert(marks.index(inspect.Parameter.KEYWORD_ONLY), "*")
    return parameters


def members(thing: Any) -> list[tuple[str, Any]]:
    """Return the public functions and properties that a class has from this package, those of its own first."""
    found: dict[str, Any] = {}
    for base in inspect.getmro(thing):
        if base.__module__.split(".")[0] != "recurdrop":
            continue
        for name, value in vars(base).items():
            bare = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if not name.startswith("_") and isinstance(bare, property) | inspect.isfunction(bare):
                found.setdefault(name, bare)
    return list(found.items())


def reference_page(name: str, thing: Any) -> str:
    """Return the page of one public class or function."""
    doc = docstrings.parse(inspect.getdoc(thing) or "")
    parts = [
        _made(f"the docstring of recurdrop.{name}"),
        f"# {name}",
        f"```python\n{signature(f'rd.{name}', thing)}\n```",
        docstrings.whole(doc),
    ]
    for label, member in members(thing) if inspect.isclass(thing) else []:
        text = docstrings.whole(docstrings.parse(inspect.getdoc(member) or ""), 3)
        call = "" if isinstance(member, property) else f"\n\n```python\n{signature(label, member)}\n```"
        parts.append(f"## {label}{call}\n\n{text}")
    return "\n\n".join([*parts, "All public names: [index](README.md)."])


def reference_index(names: dict[str, Any]) -> str:
    """Return the index of the public names by the part of the package they are written in."""
    parts: dict[str, list[tuple[str, ...]]] = {}
    files = files_of(names)
    for name, thing in sorted(names.items(), key=lambda pair: pair[0].lower()):
        summary = docstrings.parse(inspect.getdoc(thing) or "").summary
        parts.setdefault(thing.__module__.split(".")[1], []).append((f"[{name}]({files[name]})", cell(summary)))
    tables = [f"## {part}\n\n{table(('name', 'what it is'), rows)}" for part, rows in sorted(parts.items())]
    head = [
        _made("the public names of recurdrop"),
        "# Public names",
        "All but the methods, which have [pages of their own](../methods/README.md). `import recurdrop as rd`; a name "
        "without a dot is `rd.NAME`. Packages before a dot are imported by name: `import recurdrop.models`.",
    ]
    return "\n\n".join([*head, *tables])


# Settings of recipes ----------------------------------------------------------------------------------------------


def settings_page() -> str:
    """Return the page of every key that a recipe can have."""
    tasks = {kind: kinds.get(kind) for kind in kinds.KINDS}
    readers = {key: [kind for kind, task in tasks.items() if key in task.reads] for key in OPTIONAL}
    limited = {key: f"{', '.join(found)} only" for key, found in readers.items()}
    parts = [
        _made("the classes of settings"),
        "# Settings of a recipe",
        "The keys of a [recipe](../training.md), for TOML files and `--set part.key=value`. `recurdrop recipes NAME` "
        "shows a published recipe to start from. A key without a default must be given.",
        "## [training], for every task",
        settings_table(TrainingSettings, limited),
    ]
    for kind, task in tasks.items():
        parts.append(f"## {kind}\n\n{docstrings.prose(docstrings.parse(inspect.getdoc(task) or '').summary)}")
        parts += [
            f"### [{part}]\n\n{settings_table(cls)}" for part, cls in (("data", task.Data), ("model", task.Model))
        ]
    return "\n\n".join(parts)


def settings_table(cls: type[Any], more: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return a table of the keys of a dataclass: type, default, and what its docstring says of each."""
    said: dict[str, str] = {}
    for base in reversed(inspect.getmro(cls)):
        said |= docstrings.items(docstrings.parse(inspect.cleandoc(base.__doc__ or "")).part("Attributes"))
    hints = get_type_hints(cls)
    rows = []
    for field in dataclasses.fields(cls):
        required = field.default is dataclasses.MISSING
        meaning = said[field.name] + (f" ({more[field.name]})" if field.name in more else "")
        rows.append(
            (f"`{field.name}`", type_name(hints[field.name]), "" if required else _toml(field.default), cell(meaning))
        )
    return table(("key", "type", "default", "what it is"), rows)


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"`[{', '.join(_toml(item).strip('`') for item in value)}]`"
    return (
        f"`{str(value).lower() if isinstance(value, bool) else json.dumps(value) if isinstance(value, str) else value}`"
    )


def main() -> None:
    """Write every page, and take away those that nothing makes any more."""
    made = pages()
    for folder in MADE:
        (HERE / folder).mkdir(exist_ok=True)
        for path in (HERE / folder).glob("*.md"):
            if f"{folder}/{path.name}" not in made:
                path.unlink()
    for name, text in made.items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
