"""What all commands do alike: a quick answer, text shown as it is, one line for what the machine refuses."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recurdrop import cli
from recurdrop.cli import shell
from recurdrop.cli.console import Console

Run = Callable[..., Any]
COMMAND = [sys.executable, "-c", "from recurdrop.cli import main; main()"]
NASTY = "a[red]b:smile:\x1b[31mc\x07\x9b2Jd\u202egnp\r"
SHOWN = r"a[red]b:smile:\x1b[31mc\x07\x9b2Jd\u202egnp\r"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["methods"], 0),
        (["methods", "zoneout"], 0),
        (["recipes"], 0),
        (["compare", "--nonsense"], 2),
        (["predict"], 2),
        (["nonsense"], 2),
    ],
)
def test_answers_without_loading_torch(words: list[str], code: int) -> None:
    script = (
        "import sys; from recurdrop.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'lightning', 'pandas') if m in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr.splitlines()[-1]) == (code, "[]")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_stream_of_any_encoding_takes_every_character(encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "200"}
    found = subprocess.run([*COMMAND, "methods", "zoneout"], env=environment, capture_output=True, check=False)
    assert (found.returncode, found.stderr) == (0, b"")
    sign = "⊙" if encoding == "utf-8" else r"\u2299"
    assert f"c~ = f {sign} c_{{t-1}} + i {sign} g" in found.stdout.decode(encoding)


def test_a_mistake_is_one_line_in_any_encoding() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    # The word is given inside of the process: where the locale is not UTF-8, no command line can carry it.
    script = "from recurdrop.cli import main; main(['methods', '\\u6570'])"
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert found.returncode == 2
    assert found.stderr.startswith(rb"recurdrop: a method must be one that recurdrop has; got '\u6570'")


def test_control_characters_are_shown() -> None:
    assert shell.visible(NASTY) == SHOWN
    assert shell.visible("कि 한 é\u200d👩\u200d🔬\tx\n") == "कि 한 é\u200d👩\u200d🔬\tx\n"


def test_every_way_to_print_shows_text_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    shell.say(NASTY)
    shell.tell({NASTY: NASTY})
    with pytest.raises(SystemExit):
        shell.fail(NASTY)
    out, err = capfd.readouterr()
    assert out == f"{SHOWN}\n"
    assert err == f"data: {SHOWN}: {SHOWN}\nrecurdrop: {SHOWN.removesuffix(chr(92) + 'r')}\n"  # a line end is a space
    table = Table(NASTY, box=None)
    table.add_row(NASTY)
    console = Console()
    console.file = io.StringIO()
    console.print(NASTY)
    console.print(table)
    assert [line.strip() for line in console.file.getvalue().splitlines()] == [SHOWN] * 3


def test_names_of_recipes_are_no_markup(recurdrop: Run, tmp_path: Path) -> None:
    found = recurdrop("train", tmp_path / "[red]\x1b[2J.toml")
    assert found.code == 2
    assert r"[red]\x1b[2J.toml (No such file or directory)" in found.err
    assert "\x1b" not in found.err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/best.safetensors"),
            "recurdrop: runs/best.safetensors: No space left on device. Free some space, and give the same",
        ),
        (OSError(errno.EROFS, "Read-only file system", "x"), "recurdrop: x: Read-only file system. Choose a place"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", b"x"), "recurdrop: x: Is a directory. Choose another name"),
        (OSError("odd"), "recurdrop: odd. Mend that, and give the same command again."),
        (MemoryError(), "recurdrop: there is not enough memory (). Lower the batch"),
        (
            RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: 9 bytes\nframe #0"),
            "recurdrop: there is not enough memory ([enforce] DefaultCPUAllocator: can't allocate memory: 9 bytes).",
        ),
    ],
)
def test_what_the_machine_refuses_is_one_line(
    recurdrop: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def refuse(self: Console, *args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(Console, "print", refuse)
    found = recurdrop("methods")
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(line)
    assert found.err.count("\n") == 1


def test_a_mistake_of_ours_keeps_its_traceback(recurdrop: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Console, *args: object, **options: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Console, "print", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        cli.main(["methods"])


@pytest.mark.parametrize("where", ["app", "_run"])
def test_ctrl_c_is_one_line_wherever_it_comes(recurdrop: Run, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, where, interrupt)
    assert recurdrop("methods") == (130, "", "recurdrop: stopped.\n")


def test_ctrl_c_inside_a_command_is_one_line(recurdrop: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Console, *args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Console, "print", interrupt)
    assert recurdrop("methods") == (130, "", "recurdrop: stopped.\n")


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("words", [["methods"], ["recipes", "zaremba-small"]], ids=["flushed", "buffered"])
def test_a_reader_that_goes_is_no_error(words: list[str]) -> None:
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
