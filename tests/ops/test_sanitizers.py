"""The compiled core under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer; see `sanitize.cpp`."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hatch_build import GNU, NotBuiltError, find_compiler, widths

from recurdrop.ops import native
from recurdrop.ops.native import library

ROOT = Path(__file__).parents[2]

NATIVE = Path(native.__file__).parent
FLAGS = [*(flag for flag in GNU if not flag.startswith("-O")), "-g1", "-pthread", f"-I{NATIVE}"]
# Address and undefined together take a minute to compile with -O1, and a quarter without.
SANITIZERS = {
    "address": ["-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-O1", "-fsanitize=thread"],
}


def run(command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=600)


def launcher(compile: list[str], folder: Path) -> list[str]:
    """What to put before a program with this sanitizer so that it runs; skips where none does."""
    (folder / "trivial.cpp").write_text("#include <sanitizer/common_interface_defs.h>\nint main() {}\n")
    done = run([*compile, str(folder / "trivial.cpp"), "-o", str(folder / "trivial")])
    if done.returncode:
        pytest.skip(f"the compiler can't link this sanitizer: {(done.stderr.strip() or 'no reason').splitlines()[-1]}")
    # With many random bits of addresses, ThreadSanitizer of some compilers finds no room for its own memory.
    for before in [[], ["setarch", "-R"]]:
        if (not before or shutil.which("setarch")) and not (done := run([*before, str(folder / "trivial")])).returncode:
            return before
    pytest.skip(f"a program with this sanitizer does not run here: {(done.stderr.strip() or 'no reason')[:200]}")


@pytest.mark.skipif(sys.platform == "win32", reason="the sanitizers are those of GCC and Clang")
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_the_core_is_clean_under_the_sanitizer(sanitizer: str, tmp_path: Path) -> None:
    try:
        compile = [*find_compiler(os.environ), *FLAGS, *SANITIZERS[sanitizer]]
    except NotBuiltError as error:
        pytest.skip(str(error))
    before = launcher(compile, tmp_path)
    objects, have = [], []
    for name, flags in widths(platform.machine(), msvc=False).items():
        if name == "plain" or (sanitizer == "address" and (name == "avx2" or library.has_bfloat16())):
            objects.append(str(tmp_path / f"{name}.o"))
            have.append(f"-DRECURDROP_HAVE_{name.upper()}")
            kernels = [*flags, f"-DRECURDROP_ISA={name}", "-c", str(NATIVE / "kernels.cpp")]
            built = run([*compile, *kernels, "-o", objects[-1]])
            assert not built.returncode, built.stderr
    sources = [str(NATIVE / "core.cpp"), str(Path(__file__).with_name("sanitize.cpp"))]
    built = run([*compile, *have, *sources, *objects, "-o", str(tmp_path / "sanitize")])
    assert not built.returncode, built.stderr
    done = run([*before, str(tmp_path / "sanitize")], TSAN_OPTIONS="halt_on_error=1")
    assert not done.returncode, done.stdout + done.stderr
