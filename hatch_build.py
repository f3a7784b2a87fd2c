"""Builds the native core while hatchling builds the package; without a C++ compiler the package is pure Python."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.macos import process_macos_plat_tag
from packaging.tags import platform_tags

NATIVE = "recurdrop/ops/native"
LIBRARY = {"darwin": "_core.dylib", "win32": "_core.dll"}.get(sys.platform, "_core.so")
NOT_BUILT = "_not_built.txt"

GNU = [
    "-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti", "-fno-semantic-interposition",
    "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
]  # fmt: skip
MSVC = ["-nologo", "-std:c++17", "-O2", "-GR-"]
STANDALONE = ["-Wl,--as-needed", "-Wl,--exclude-libs,ALL", "-static-libgcc", "-static-libstdc++"]
AVX2 = ["-mavx2", "-mfma"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"]
AVX512_BF16 = [*AVX512, "-mavx512bf16", "-DRECURDROP_NARROW"]


class NotBuiltError(Exception):
    """Why the native core was not built, in one line."""


def find_compiler(environ: Mapping[str, str]) -> list[str]:
    """The command of the C++ compiler: what CXX names, or the first usual one on PATH.

    Raises:
        NotBuiltError: There is none.
    """
    named = shlex.split(environ.get("CXX", ""), posix=os.name == "posix")
    for name in named[:1] or ["c++", "g++", "clang++", *["cl"] * (sys.platform == "win32")]:
        if path := shutil.which(name, path=environ.get("PATH")):
            return [os.path.abspath(path), *named[1:]]
    raise NotBuiltError(f"CXX names {named[0]}, which is not on PATH" if named else "no C++ compiler is on PATH")


def widths(machine: str, msvc: bool) -> dict[str, list[str]]:
    """The vector widths to compile the kernels for, each with its flags."""
    if machine.lower() in {"aarch64", "arm64"}:
        return {"plain": [], "neon": []}
    if machine.lower() not in {"x86_64", "amd64"}:
        return {"plain": []}
    if msvc:
        return {"plain": [], "avx2": ["-arch:AVX2"], "avx512": ["-arch:AVX512"]}
    return {"plain": [], "avx2": AVX2, "avx512": AVX512, "avx512_bf16": AVX512_BF16}


def run(command: list[str], folder: Path) -> str | None:
    """Runs a compiler in a folder; returns None, or in one line why it failed."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    except OSError as error:
        return f"{name} does not run: {error.strerror}"
    vague = re.compile(r"\s*$|collect2: |.*linker command failed")
    said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if not vague.match(line)]
    told = next((line for line in said if re.search(r"\berror\b", line)), said[-1] if said else "it said nothing")
    return f"{name} ended with status {done.returncode}: {told}" if done.returncode else None


def build(sources: Path, library: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Compiles the native core, two files at a time.

    Args:
        sources: The folder of core.cpp and kernels.cpp.
        library: The file to write.
        environ: The environment; CXX names the compiler, RECURDROP_CXXFLAGS adds flags to compile and link.

    Returns:
        The vector widths left out, because this compiler cannot compile them, each with the reason.

    Raises:
        NotBuiltError: There is no compiler, or it failed.
    """
    compiler = find_compiler(environ)
    msvc = Path(compiler[0]).stem.lower() in {"cl", "clang-cl"}
    extra = shlex.split(environ.get("RECURDROP_CXXFLAGS", ""))
    extra += shlex.split(environ.get("ARCHFLAGS", "")) if sys.platform == "darwin" else []
    kernels = widths(platform.machine(), msvc)

    with TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:

        def compile_one(name: str, source: str, flags: list[str]) -> str | None:
            output = [f"-Fo{folder}/{name}.o"] if msvc else ["-o", f"{folder}/{name}.o"]
            return run([*compiler, *(MSVC if msvc else GNU), *flags, *extra, "-c", source, *output], sources)

        flags = [[f"-DRECURDROP_ISA={name}", *own] for name, own in kernels.items()]
        said = pool.map(compile_one, kernels, ["kernels.cpp"] * len(kernels), flags)
        errors = {name: error for name, error in zip(kernels, said, strict=True) if error}
        built = [name for name in kernels if name not in errors]
        have = [f"-DRECURDROP_HAVE_{name.upper()}" for name in built if name != "plain"]
        if error := errors.get("plain") or compile_one("core", "core.cpp", have):
            raise NotBuiltError(error)

        fresh = library.absolute().with_suffix(".fresh")
        objects = [*extra, *(f"{folder}/{name}.o" for name in ["core", *built])]
        if msvc:
            error = run([*compiler, "-nologo", "-LD", *objects, f"-Fe{fresh}"], sources)
        else:
            rest = [*objects, "-shared", "-lm", "-o", str(fresh)]
            error = run([*compiler, *STANDALONE, *rest], sources) and run([*compiler, *rest], sources)
        if error:
            raise NotBuiltError(error)
        try:
            fresh.replace(library)  # at once, so that a process that runs the old one keeps it
        except OSError as error:
            fresh.unlink()
            raise NotBuiltError(f"{library.name} is in use and can't be replaced: {error.strerror}") from None
    return errors


def wheel_tag() -> str:
    """The tag of a wheel that holds the library: any Python 3, on platforms like this one."""
    this = min(platform_tags(), key=lambda tag: tag.startswith("linux_"))  # the first that says which libc
    return f"py3-none-{process_macos_plat_tag(this, compat=False) if sys.platform == 'darwin' else this}"


class NativeCore(BuildHookInterface[Any]):
    """Puts the library into the wheel, or for an editable install into the source tree; or else says why not."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Builds the library before hatchling packs the files."""
        wanted = os.environ.get("RECURDROP_NATIVE", "")
        if wanted not in {"", "0", "1"}:
            self.app.abort(f"RECURDROP_NATIVE must be 0 (skip the native core) or 1 (require it), not {wanted!r}")
        sources = Path(self.root, "src", NATIVE)
        self._scratch = TemporaryDirectory()
        folder = sources if version == "editable" else Path(self._scratch.name)
        try:
            if wanted == "0":
                raise NotBuiltError("RECURDROP_NATIVE=0 was set when the package was built")
            for name, why in build(sources, folder / LIBRARY, os.environ).items():
                self.app.display_warning(f"recurdrop: the native core lacks its {name} kernels: {why}")
        except NotBuiltError as error:
            packed = self._pure(folder, str(error), wanted)
        else:
            packed = folder / LIBRARY
            (folder / NOT_BUILT).unlink(missing_ok=True)
            build_data |= {"tag": wheel_tag(), "pure_python": version == "editable"}
        build_data["force_include"][str(packed)] = f"{NATIVE}/{packed.name}"

    def _pure(self, folder: Path, reason: str, wanted: str) -> Path:
        """Removes the library of an earlier build, and says why there is none."""
        remedy = "Install a C++17 compiler (g++, clang++ or MSVC), or name one in CXX"
        if wanted == "1":
            self.app.abort(f"RECURDROP_NATIVE=1 requires the native core, but {reason}. {remedy}.")
        try:
            (folder / LIBRARY).unlink(missing_ok=True)
        except OSError:
            self.app.abort(
                f"the native core was not built, for {reason}. End the programs that use it, and install again."
            )
        (folder / NOT_BUILT).write_text(f"{reason}\n", encoding="utf-8")
        if not wanted:
            self.app.display_warning(
                f"recurdrop: the native core was not built: {reason}\n"
                "  Everything works without it, only slower: recurrences run through PyTorch.\n"
                f"  {remedy}, and install again with pip's --force-reinstall --no-deps --no-cache-dir."
            )
        return folder / NOT_BUILT

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes what the build left behind."""
        self._scratch.cleanup()
