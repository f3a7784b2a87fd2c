"""One form for every message: the rule, the value that broke it, the remedy."""

from __future__ import annotations


def invalid(rule: str, value: object, remedy: str) -> ValueError:
    """Return the `ValueError` for a broken rule; the caller raises it.

    Args:
        rule: what must hold, as a sentence without its full stop.
        value: what was given instead.
        remedy: what to do, as a sentence.
    """
    return ValueError(f"{rule}; got {value!r}. {remedy}")


class BackendError(RuntimeError):
    """A forced backend can't run this problem; the message says why."""


class UndefinedSiteError(ValueError):
    """A method needs a site that the cell lacks; the message says why."""
