"""The build of the native core: what a compiler makes of tiny sources, and what is packed with it and without one."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
assert spec and spec.loader
hatch_build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hatch_build)

HATCHLING = (
    "from hatchling.builders.{0} import *; list({1}('.').build(directory='out', versions=['{2}'], hooks_only={3}))"
)
WHEEL = HATCHLING.format("wheel", "WheelBuilder", "standard", False)
EDITABLE = HATCHLING.format("wheel", "WheelBuilder", "editable", True)
SDIST = HATCHLING.format("sdist", "SdistBuilder", "standard", False)

KERNELS = """
namespace RECURDROP_ISA {
int lanes() {
#if defined(__AVX512BF16__) && defined(RECURDROP_NARROW)
  return 32;
#elif defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__) && defined(__AVX512VL__)
  return 16;
#elif defined(__AVX2__)
  return 8;
#else
  return 4;
#endif
}
}
"""
CORE = """
#ifdef _MSC_VER
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif
#ifndef EXTRA
#define EXTRA 0
#endif
namespace plain { int lanes(); }
namespace avx2 { int lanes(); }
namespace avx512 { int lanes(); }
namespace avx512_bf16 { int lanes(); }
namespace neon { int lanes(); }
EXPORT int extra() { return EXTRA; }
EXPORT int lanes_plain() { return plain::lanes(); }
#ifdef RECURDROP_HAVE_AVX2
EXPORT int lanes_avx2() { return avx2::lanes(); }
#endif
#ifdef RECURDROP_HAVE_AVX512
EXPORT int lanes_avx512() { return avx512::lanes(); }
#endif
#ifdef RECURDROP_HAVE_AVX512_BF16
EXPORT int lanes_avx512_bf16() { return avx512_bf16::lanes(); }
#endif
#ifdef RECURDROP_HAVE_NEON
EXPORT int lanes_neon() { return neon::lanes(); }
#endif
"""
LANES = {"plain": 4, "avx2": 8, "avx512": 16, "avx512_bf16": 32, "neon": 4}

ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("RECURDROP_")}
try:
    hatch_build.find_compiler(ENVIRON)
    missing = ""
except hatch_build.NotBuiltError as error:
    missing = str(error)
needs_compiler = pytest.mark.skipif(bool(missing), reason=missing)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The project with tiny sources; without .gitignore, so that nothing but the configuration keeps files out."""
    tree = tmp_path / "tree"
    native = tree / "src" / hatch_build.NATIVE
    native.mkdir(parents=True)
    for name in ["pyproject.toml", "hatch_build.py", "README.md", "LICENSE"]:
        shutil.copy(ROOT / name, tree)
    for path in [tree / "src/recurdrop/__init__.py", native / "__init__.py", native / "recurdrop.h"]:
        path.touch()
    (native / "kernels.cpp").write_text(KERNELS)
    (native / "core.cpp").write_text(CORE)
    return tree


def native(tree: Path) -> Path:
    return tree / "src" / hatch_build.NATIVE


def hatchling(tree: Path, code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=tree, env={**ENVIRON, **environ}, capture_output=True, text=True
    )


def build(tree: Path, environ: Mapping[str, str] = ENVIRON) -> tuple[ctypes.CDLL, dict[str, str]]:
    library = tree / hatch_build.LIBRARY
    left_out = hatch_build.build(native(tree), library, environ)
    return ctypes.CDLL(str(library)), left_out


def unpack(tree: Path) -> tuple[set[str], str]:
    """The names of what the one wheel has in the native folder, and its WHEEL file."""
    (path,) = (tree / "out").glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = [Path(name) for name in wheel.namelist()]
        (described,) = [name for name in names if name.name == "WHEEL"]
        about = wheel.read(described.as_posix()).decode()
    assert f"Tag: {path.stem.split('-', 2)[2]}\n" in f"{about}\n"
    return {name.name for name in names if name.parent.as_posix() == hatch_build.NATIVE}, about


@needs_compiler
def test_every_width_is_compiled_with_its_flags_and_announced(tree: Path) -> None:
    library, left_out = build(tree)
    expected = {
        name: LANES[name] for name in hatch_build.widths(platform.machine(), msvc=False) if name not in left_out
    }
    found = {name: getattr(library, f"lanes_{name}")() for name in LANES if hasattr(library, f"lanes_{name}")}
    assert found == expected


@needs_compiler
def test_library_shows_only_its_interface(tree: Path) -> None:
    library, _ = build(tree)
    assert hasattr(library, "lanes_plain")
    assert not hasattr(library, "_ZN5plain5lanesEv")


@needs_compiler
def test_library_brings_its_cpp_runtime_where_the_compiler_has_a_static_one(tree: Path) -> None:
    with (native(tree) / "core.cpp").open("a") as core:
        core.write("EXPORT int guarded() { static int once = plain::lanes(); return once; }\n")
    ask = [*hatch_build.find_compiler(ENVIRON), "-print-file-name=libstdc++.a"]
    static = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()).is_absolute()
    library, _ = build(tree)
    assert library.guarded() == LANES["plain"]
    assert hasattr(library, "__cxa_guard_acquire") is not static, "also looks through the libraries that it needs"


@needs_compiler
def test_linker_without_these_options_links_all_the_same(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hatch_build, "STANDALONE", ["-Wl,--no-such-option"])
    library, _ = build(tree)
    assert library.lanes_plain() == LANES["plain"]


@needs_compiler
def test_width_that_does_not_compile_is_left_out(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hatch_build, "widths", lambda machine, msvc: {"plain": [], "neon": ["-fno-such-flag"]})
    library, left_out = build(tree)
    assert list(left_out) == ["neon"]
    assert "no-such-flag" in left_out["neon"]
    assert not hasattr(library, "lanes_neon")


@needs_compiler
def test_extra_flags_reach_the_compiler_and_the_linker(tree: Path) -> None:
    library, _ = build(tree, {**ENVIRON, "RECURDROP_CXXFLAGS": "-DEXTRA=7"})
    assert library.extra() == 7
    with pytest.raises(hatch_build.NotBuiltError, match="no_such_library"):
        build(tree, {**ENVIRON, "RECURDROP_CXXFLAGS": "-lno_such_library"})


@needs_compiler
@pytest.mark.parametrize("source", ["core.cpp", "kernels.cpp"])
def test_error_in_the_sources_is_told_in_one_line(tree: Path, source: str) -> None:
    (native(tree) / source).write_text("int fine;\n#error out of luck\n")
    with pytest.raises(hatch_build.NotBuiltError, match=rf"{source}:2.*out of luck") as caught:
        build(tree)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", ["plain", "avx2", "avx512", "avx512_bf16"]),
        ("AMD64", ["plain", "avx2", "avx512", "avx512_bf16"]),
        ("aarch64", ["plain", "neon"]),
        ("arm64", ["plain", "neon"]),
        ("riscv64", ["plain"]),
    ],
)
def test_widths_of_a_machine(machine: str, expected: list[str]) -> None:
    assert list(hatch_build.widths(machine, msvc=False)) == expected
    of_gnu_alone = {"avx512_bf16"}
    assert list(hatch_build.widths(machine, msvc=True)) == [name for name in expected if name not in of_gnu_alone]


def test_compiler_is_what_cxx_names_or_the_first_on_path(tmp_path: Path) -> None:
    for name in ["clang++", "g++", "mine"]:
        (tmp_path / name).touch(mode=0o755)
    here = {"PATH": str(tmp_path)}
    assert hatch_build.find_compiler(here) == [str(tmp_path / "g++")]
    assert hatch_build.find_compiler({**here, "CXX": "mine -m64"}) == [str(tmp_path / "mine"), "-m64"]
    with pytest.raises(hatch_build.NotBuiltError, match="CXX names icpc, which is not on PATH"):
        hatch_build.find_compiler({**here, "CXX": "icpc"})
    with pytest.raises(hatch_build.NotBuiltError, match=r"no C\+\+ compiler is on PATH"):
        hatch_build.find_compiler({"PATH": str(tmp_path / "nothing")})


@needs_compiler
def test_wheel_holds_the_library_and_is_for_this_platform(tree: Path) -> None:
    (native(tree) / hatch_build.NOT_BUILT).touch()
    done = hatchling(tree, WHEEL, RECURDROP_NATIVE="1")
    assert done.returncode == 0, done.stderr
    names, about = unpack(tree)
    assert names == {"__init__.py", hatch_build.LIBRARY}
    assert "Root-Is-Purelib: false" in about
    assert "Tag: py3-none-" in about
    assert not any(f"Tag: py3-none-{other}" in about for other in ["any", "linux_"])
    assert not (native(tree) / hatch_build.LIBRARY).exists(), "a wheel's build leaves the source tree alone"


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"PATH": "", "CXX": ""}, "no C++ compiler is on PATH"),
        ({"CXX": "no-such-compiler"}, "CXX names no-such-compiler, which is not on PATH"),
        ({"CXX": sys.executable}, f"{Path(sys.executable).name} ended with status 2"),
        ({"RECURDROP_NATIVE": "0"}, "RECURDROP_NATIVE=0 was set when the package was built"),
    ],
)
def test_wheel_without_the_library_is_pure_and_says_why(tree: Path, environ: dict[str, str], reason: str) -> None:
    (native(tree) / hatch_build.LIBRARY).touch()
    done = hatchling(tree, WHEEL, **environ)
    assert done.returncode == 0, done.stderr
    names, about = unpack(tree)
    assert names == {"__init__.py", hatch_build.NOT_BUILT}
    assert "Root-Is-Purelib: true" in about
    assert "Tag: py3-none-any" in about
    warning = f"recurdrop: the native core was not built: {reason}"
    assert (warning in done.stderr) is ("RECURDROP_NATIVE" not in environ)
    (path,) = (tree / "out").glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        said = wheel.read(f"{hatch_build.NATIVE}/{hatch_build.NOT_BUILT}").decode()
    assert said.startswith(reason)
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"RECURDROP_NATIVE": "1", "CXX": "no-such"},
            "RECURDROP_NATIVE=1 requires the native core, but CXX names no-such",
        ),
        ({"RECURDROP_NATIVE": "yes"}, "RECURDROP_NATIVE must be 0 (skip the native core) or 1 (require it), not 'yes'"),
    ],
)
def test_what_was_asked_for_and_cannot_be_is_an_error(tree: Path, environ: dict[str, str], message: str) -> None:
    done = hatchling(tree, WHEEL, **environ)
    assert done.returncode == 1
    assert message in done.stderr
    assert not list((tree / "out").glob("*.whl"))


@needs_compiler
def test_editable_build_leaves_in_the_tree_what_is_true_now(tree: Path) -> None:
    left = []
    for wanted in ["1", "0", "1"]:
        done = hatchling(tree, EDITABLE, RECURDROP_NATIVE=wanted)
        assert done.returncode == 0, done.stderr
        left.append({path.name for path in native(tree).glob("_[cn]*")})
    assert left == [{hatch_build.LIBRARY}, {hatch_build.NOT_BUILT}, {hatch_build.LIBRARY}]


def test_sdist_holds_what_the_build_needs_and_nothing_built(tree: Path) -> None:
    for name in [hatch_build.LIBRARY, hatch_build.NOT_BUILT]:
        (native(tree) / name).touch()
    done = hatchling(tree, SDIST)
    assert done.returncode == 0, done.stderr
    (path,) = (tree / "out").glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = [Path(*Path(name).parts[1:]) for name in sdist.getnames()]
    assert Path("hatch_build.py") in names
    here = {name.name for name in names if name.parent == Path("src", hatch_build.NATIVE)}
    assert here == {"__init__.py", "core.cpp", "kernels.cpp", "recurdrop.h"}


def test_what_is_pinned_twice_is_pinned_alike() -> None:
    files = (ROOT / "constraints.txt", ROOT / "tests" / "downstream" / "requirements.txt")
    if not all(file.exists() for file in files):
        pytest.skip("the pins are not beside the tests")
    ours, theirs = ({line.split("==")[0]: line for line in file.read_text().split() if "==" in line} for file in files)
    assert {name: theirs[name] for name in ours.keys() & theirs} == {name: ours[name] for name in ours.keys() & theirs}
