"""Build the sdist and the wheel, and prove both in fresh environments: `make wheel`.

The wheel is built from the sdist, so that the sdist is known to be complete. On Linux, auditwheel then checks which
system libraries it needs and gives it the lowest manylinux tag that is true. What is proved:

- The wheel, on the Python that runs this script, beside torch, NumPy and their own dependencies and nothing else: the
  compiled kernels agree with the reference, and the command line names the extra that it needs.
- The wheel, on every other supported Python that this machine has: its files compile, and the library loads and makes
  the published numbers of Philox. torch is not installed there, because it would be a download of gigabytes.
- The sdist, where PATH has no compiler: it installs as pure Python, says why, and the layers work.

Packages of the running Python are linked into the fresh environments instead of being installed once more. The variable
PYTHONS names more interpreters, separated by spaces; those of pyenv and those on PATH are looked for.
"""

from __future__ import annotations

import email
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
MINORS = range(10, 15)
LINUX = sys.platform == "linux"

WITHOUT_TORCH = """
import compileall, ctypes, pathlib, sys
package = pathlib.Path(sys.argv[1])
assert compileall.compile_dir(package, quiet=1), "a module is no Python of this version"
core = ctypes.CDLL(str(next((package / "ops" / "native").glob("_core.*"))))
# With key and counter 0 Philox4x32-10 gives 6627e8d5, e169c58d, bc57ac4c and 9b00dbd8 (Random123's known answers).
bits, sizes = (ctypes.c_uint8 * 4)(), (ctypes.c_int64 * 4)(1, 1, 1, 4)
for threshold, expected in ((0x9B00DBD8, [0, 1, 1, 1]), (0x9B00DBD9, [0, 1, 1, 0])):
    core.recurdrop_keep_bits(ctypes.c_uint64(0), 0, sizes, ctypes.c_uint64(threshold), bits, 1)
    assert list(bits) == expected, list(bits)
core.recurdrop_vectors.restype = ctypes.c_char_p
print("the library loads, with the vector widths", core.recurdrop_vectors().decode())
"""

LAYERS = """
import importlib.metadata, pathlib, sys
import torch
import recurdrop as rd

assert pathlib.Path(rd.__file__).is_relative_to(sys.prefix), rd.__file__
assert rd.__version__ == importlib.metadata.version("recurdrop") == sys.argv[1], rd.__version__
for extra in ("pandas", "lightning", "matplotlib", "typer"):
    try:
        __import__(extra)
    except ImportError:
        continue
    raise AssertionError(f"{extra} can be imported, so that this environment proves nothing")

def gradients(backend):
    layer = rd.LSTM(5, 7, num_layers=2, noise=rd.Zoneout(c=0.5, h=0.25), dtype=torch.float64, backend=backend)
    with torch.no_grad():
        for i, weight in enumerate(layer.parameters()):
            weight.copy_(torch.sin(torch.arange(weight.numel(), dtype=torch.float64) + i).view_as(weight))
    x = torch.cos(torch.arange(90, dtype=torch.float64)).view(6, 3, 5).requires_grad_()
    torch.manual_seed(3)
    y, (h, c) = layer(x, lengths=torch.tensor([6, 0, 4]))
    (y.square().sum() + h.sum() + c.sum()).backward()
    return [y.detach(), x.grad, *(weight.grad for weight in layer.parameters())]

expected = gradients("reference")
for backend in sys.argv[2:]:
    for ours, theirs in zip(gradients(backend), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
print("the layers agree with the reference on", *sys.argv[2:])
"""

REFUSED = """
import recurdrop as rd, torch
try:
    rd.LSTM(2, 2, noise=rd.Zoneout(), backend="native")(torch.zeros(1, 1, 2))
except rd.BackendError as error:
    assert "no C++ compiler is on PATH" in str(error), error
    print("the compiled backend says why it is missing")
else:
    raise AssertionError("the compiled backend runs, although there was no compiler")
"""


def main() -> None:
    """Build both packages and prove them; the first thing that is not so ends the script with an error."""
    for old in DIST.glob("recurdrop-*"):
        old.unlink()
    with TemporaryDirectory() as folder:
        scratch = Path(folder)
        sdist, wheel = build(scratch)
        version = check_contents(sdist, wheel)
        prove_here(scratch, wheel, version)
        prove_elsewhere(scratch, wheel)
        prove_without_compiler(scratch, sdist, version)
    print(f"proved: dist/{sdist.name} and dist/{wheel.name}")


def build(scratch: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it, in an environment of pip's own."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", DIST)
    (sdist,) = DIST.glob("recurdrop-*.tar.gz")
    built = scratch / "built"
    arguments = ("--quiet", "--no-cache-dir", "--no-deps", "--wheel-dir", built, sdist)
    run(sys.executable, "-m", "pip", "wheel", *arguments, **pinned(), RECURDROP_NATIVE="1")
    (wheel,) = built.glob("*.whl")
    if LINUX:
        with_tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", DIST, wheel, PATH=with_tools)
    else:
        shutil.copy(wheel, DIST)
    (wheel,) = DIST.glob("recurdrop-*.whl")
    assert not LINUX or "manylinux" in wheel.name or "musllinux" in wheel.name, wheel.name
    return sdist, wheel


def check_contents(sdist: Path, wheel: Path) -> str:
    """Check that the packages hold what they should and nothing else; return their version."""
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        about = email.message_from_bytes(packed.read(next(n for n in names if n.endswith(".dist-info/METADATA"))))
    version = str(about["Version"])
    assert [n for n in names if re.search(r"/_core\.(so|dylib|dll)$", n)], "the wheel holds no library"
    assert "recurdrop/py.typed" in names, "the wheel says nothing of types"
    strays = [n for n in names if not n.startswith(("recurdrop/", f"recurdrop-{version}.dist-info/"))]
    strays += [n for n in names if n.endswith((".cpp", ".h", ".pyc"))]
    assert not strays, f"the wheel should not hold {strays}"
    with tarfile.open(sdist) as source:
        members = {name.partition("/")[2] for name in source.getnames()}
    needed = {"pyproject.toml", "hatch_build.py", "LICENSE", "README.md", "CHANGELOG.md", "Makefile", "CITATION.cff"}
    assert needed <= members, f"the sdist lacks {sorted(needed - members)}"
    size = wheel.stat().st_size / 2**20
    print(f"built {sdist.name} and {wheel.name} ({size:.1f} MiB, {len(names)} files)")
    return version


def prove_here(scratch: Path, wheel: Path, version: str) -> None:
    """Prove the wheel beside torch and NumPy alone, on the Python that runs this script."""
    environment = fresh(scratch / "wheel", sys.executable)
    link_packages(environment, "torch", "numpy")
    install(environment, wheel)
    run(python(environment), "-c", LAYERS, version, "native", "recompute", "eager", cwd=scratch)
    command = subprocess.run([python(environment).with_name("recurdrop"), "doctor"], capture_output=True, text=True)
    told = command.stderr + command.stdout
    assert command.returncode != 0, "the command line needs an extra, and ran without it"
    assert "recurdrop[all]" in told, told
    assert "Traceback" not in told, told
    print("proved: the wheel on", describe(python(environment)))


def prove_elsewhere(scratch: Path, wheel: Path) -> None:
    """Prove on other Pythons what can be proved without torch, and name the versions that are not on this machine."""
    here, missing = sys.version_info[:2], []
    for minor in MINORS:
        if (3, minor) == here:
            continue
        interpreter = find_python(f"3.{minor}")
        if interpreter is None:
            missing.append(f"3.{minor}")
            continue
        environment = fresh(scratch / f"python3.{minor}", interpreter)
        install(environment, wheel)
        (package,) = environment.glob("**/site-packages/recurdrop")
        run(python(environment), "-c", WITHOUT_TORCH, package, cwd=scratch)
        print("proved: the wheel, without torch, on", describe(python(environment)))
    if missing:
        print("NOT proved, for they are not on this machine: Python", ", ".join(missing))


def prove_without_compiler(scratch: Path, sdist: Path, version: str) -> None:
    """Prove that the sdist installs where PATH has no compiler, and that the layers work all the same."""
    environment = fresh(scratch / "sdist", sys.executable)
    link_packages(environment, "torch", "numpy")
    (empty := scratch / "empty").mkdir()
    install(environment, sdist, PATH=str(empty), CXX="", RECURDROP_NATIVE="")
    run(python(environment), "-c", LAYERS, version, "eager", cwd=scratch)
    run(python(environment), "-c", REFUSED, cwd=scratch)
    print("proved: the sdist without a compiler on", describe(python(environment)))


# Environments -----------------------------------------------------------------------------------------------------


def fresh(folder: Path, interpreter: str) -> Path:
    """Make an environment without any package."""
    run(interpreter, "-m", "venv", "--without-pip", folder)
    return folder


def python(environment: Path) -> Path:
    """Return the interpreter of an environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(environment: Path, package: Path, **variables: str) -> None:
    """Install one package, and none that it requires, with the pip of the Python that runs this script."""
    arguments = ("--quiet", "--no-cache-dir", "--disable-pip-version-check", "--no-deps", package)
    run(sys.executable, "-m", "pip", "--python", python(environment), "install", *arguments, **pinned(), **variables)


def pinned() -> dict[str, str]:
    """Return the variable that holds pip to the pinned versions, in the environments that it builds in too."""
    return {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")}


def link_packages(environment: Path, *names: str) -> None:
    """Link packages of the running Python, and all that they require, into an environment."""
    (site,) = environment.glob("**/site-packages")
    for name in required(set(names)):
        package = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            source, target = Path(str(package.locate_file(top))), site / top
            if source.exists() and not target.exists():
                target.symlink_to(source, target_is_directory=source.is_dir())


def required(names: set[str]) -> set[str]:
    """Return the names of installed packages with all that they require on this machine, extras left out."""
    known: set[str] = set()
    waiting = set(names)
    while waiting:
        known.add(name := waiting.pop())
        for line in importlib.metadata.requires(name) or ():
            other = re.split(r"[^\w.-]", line)[0]
            if "extra ==" not in line and other not in known and is_installed(other):
                waiting.add(other)
    return known


def is_installed(name: str) -> bool:
    """Return whether the running Python has a package."""
    return next(importlib.metadata.Distribution.discover(name=name), None) is not None


def find_python(version: str) -> str | None:
    """Return an interpreter of a version: from PYTHONS, of pyenv, or on PATH."""
    candidates = [*os.environ.get("PYTHONS", "").split(), *pyenv_pythons(version), f"python{version}"]
    for candidate in filter(None, map(shutil.which, candidates)):
        told = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True
        )
        if told.stdout.decode().strip() == version:
            return candidate
    return None


def pyenv_pythons(version: str) -> Iterator[str]:
    """Yield the interpreters of a version that pyenv has installed."""
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True).stdout.strip()
        yield from map(str, Path(root, "versions").glob(f"{version}.*/bin/python3"))


def describe(interpreter: Path) -> str:
    """Return the name and version of an interpreter."""
    return subprocess.run([interpreter, "-V"], capture_output=True, text=True).stdout.strip()


def run(*command: object, cwd: Path = ROOT, **variables: str) -> None:
    """Run a command; an error of its ends this script with what it was."""
    cleaned = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "RECURDROP_VECTOR"}}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env={**cleaned, **variables})
    if done.returncode:
        shown = " ".join(str(part) for part in command if "\n" not in str(part))
        raise SystemExit(f"ended with status {done.returncode}: {shown}")


if __name__ == "__main__":
    main()
