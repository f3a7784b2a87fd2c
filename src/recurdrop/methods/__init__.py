"""The methods, one file each; a new file is found by itself."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import pkgutil

from recurdrop.errors import invalid
from recurdrop.methods.base import Method

__all__ = ["Method", "get", "names", "parse"]


@functools.cache
def _registry() -> dict[str, type[Method]]:
    found: dict[str, type[Method]] = {}
    for module in pkgutil.iter_modules(__path__):
        scanned = importlib.import_module(f"{__name__}.{module.name}")
        for value in vars(scanned).values():
            if isinstance(value, type) and issubclass(value, Method) and value.__module__ == scanned.__name__:
                if value is Method:
                    continue
                if value.name in found:
                    other = found[value.name].__module__
                    raise invalid(
                        f"a method's name must be its own, and {other} has it already", value.name, "Choose another."
                    )
                found[value.name] = value
    return dict(sorted(found.items()))


def names() -> tuple[str, ...]:
    """Return the names of all methods, as the command line takes them."""
    return tuple(_registry())


def get(name: str) -> type[Method]:
    """Return the method of this name.

    Raises:
        ValueError: there is none.
    """
    try:
        return _registry()[name]
    except KeyError:
        raise invalid("a method must be one that recurdrop has", name, f"Choose among {', '.join(names())}.") from None


def _value(text: str) -> object:
    try:
        return [ast.literal_eval(part) for part in text.split("/")] if "/" in text else ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def parse(text: str) -> Method:
    """Make a method from text: `zoneout` (published rates), `zaremba:0.5`, `zoneout:c=0.5,h=0.05`.

    A bare value goes to the first field; `0.1/0.2` is one value a place.

    Raises:
        ValueError: an unknown method or argument, or a value that breaks the method's rules.
    """
    name, colon, rest = text.strip().partition(":")
    method = get(name.strip().lower())
    if not colon:
        return method.published()
    fields = [field.name for field in dataclasses.fields(method)]
    arguments: dict[str, object] = {}
    for i, part in enumerate(rest.split(",")):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            key, value = fields[min(i, len(fields) - 1)], key
        if key not in fields or key in arguments or not value:
            raise invalid(
                f"an argument of {name} is one of {', '.join(fields)}, given once",
                part,
                f"Write {name}:{fields[0]}=0.5.",
            )
        arguments[key] = _value(value)
    return method(**arguments)
