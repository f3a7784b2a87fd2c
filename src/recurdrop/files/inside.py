"""Names of files that come with settings: they stay in the folder that the user gave."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

from recurdrop.errors import invalid


def check_inside(setting: str, name: str, *, nested: bool) -> None:
    r"""Refuse a name that leaves its folder, on this system or another: `..`, `/etc/passwd`, `C:\x`.

    A recipe may be somebody else's, and the files it reads are the user's. What a link inside the folder points to is
    the folder's owner's choice.

    Args:
        setting: that holds the name, for the message.
        name: what it says.
        nested: whether it may name a folder inside.

    Raises:
        ValueError: it leaves the folder, or names a folder where it may not.
    """
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.anchor or ".." in path.parts or (not nested and len(path.parts) > 1) or "\0" in name:
            remedy = "Give that file itself as the data, or a name without folders above it."
            raise invalid(f"{setting} must be the name of a file inside the folder of the data", name, remedy)
