"""The compiled core: finding it, its vector width, and the threads that it borrows."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import torch

from recurdrop.errors import invalid

HERE = Path(__file__).parent
VECTOR = "RECURDROP_VECTOR"
"""The environment variable that names a vector width, one of `vectors()`."""


class Mask(ctypes.Structure):
    """`recurdrop_mask` of recurdrop.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("time", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("gate", ctypes.c_int64),
        ("unit", ctypes.c_int64),
        ("bytes", ctypes.c_int32),
        ("gated", ctypes.c_int32),
    ]


IN_LOOP = ("recurrent", "candidate", "cell", "zone_c", "zone_h", "detach")
ARRAYS = (
    *("lengths", "x", "h0", "c0", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr"),
    *(f"mask_{site}" for site in ("input", *IN_LOOP)),
    *("h", "c", "gates", "h_n", "c_n", "d_h", "d_c", "d_h_n", "d_c_n"),
    *("d_x", "d_h0", "d_c0", "d_w_ih", "d_w_hh", "d_b_ih", "d_b_hh", "d_w_hr", "work"),
)


class CoreCall(ctypes.Structure):
    """`recurdrop_call` of recurdrop.h."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("cell", "type", "reverse", "threads")),
        *((name, ctypes.c_int64) for name in ("time", "batch", "input", "hidden", "state")),
        *((name, Mask if name.startswith("mask_") else ctypes.c_void_p) for name in ARRAYS),
    ]


@cache
def torch_openmp() -> tuple[int, int, int] | None:
    """Return the addresses of torch's own OpenMP runtime, whose threads we borrow; None where it has none.

    A second runtime beside it would spin against it. The lookup goes through torch's library to those it was linked
    with. Only the interface of libgomp is known here, which LLVM's and Intel's runtimes have too on Linux.
    """
    root = Path(torch.__file__).parent / "lib"
    for path in root.glob("libtorch_cpu.*"):
        try:
            linked = ctypes.CDLL(str(path))
            names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
            addresses = [ctypes.cast(getattr(linked, name), ctypes.c_void_p).value for name in names]
        except (OSError, AttributeError):
            continue
        if all(addresses):
            first, second, third = (address or 0 for address in addresses)
            return first, second, third
    return None


def threads() -> int:
    """Return how many threads a call may use: torch's number, or 1 where its pool can't be borrowed."""
    return 1 if torch_openmp() is None else torch.get_num_threads()


def _open() -> tuple[ctypes.CDLL | None, str | None]:
    """Load the core and set it up with torch's threads and the wanted vector width; or say why it can't be."""
    found = next((path for path in HERE.glob("_core.*") if path.suffix in (".so", ".dylib", ".dll")), None)
    if found is None:
        note = HERE / "_not_built.txt"
        reason = note.read_text().strip() if note.exists() else "it was not compiled when recurdrop was installed"
        return None, f"{reason}; install a C++17 compiler and reinstall recurdrop"
    try:
        core = ctypes.CDLL(str(found))
        size = core.recurdrop_call_size()
        _declare(core)
    except OSError as error:
        return None, f"{found.name} can't be loaded: {error}"
    except AttributeError:
        size = None
    if size != ctypes.sizeof(CoreCall):
        return None, f"{found.name} was compiled from other sources; install recurdrop again"
    pool = torch_openmp()
    if pool is not None:
        core.recurdrop_use_openmp(*pool)
    wanted = os.environ.get(VECTOR)
    if wanted and not core.recurdrop_choose_vector(wanted.encode()):
        names = core.recurdrop_vectors().decode().replace(" ", ", ")
        return None, f"{VECTOR} must be one of {names} on this machine; got {wanted!r}. Unset it for the best of them"
    return core, None


def _declare(core: ctypes.CDLL) -> None:
    core.recurdrop_vectors.restype = core.recurdrop_vector.restype = ctypes.c_char_p
    core.recurdrop_work_size.restype = ctypes.c_int64
    core.recurdrop_work_size.argtypes = [ctypes.POINTER(CoreCall), ctypes.c_int32]
    core.recurdrop_forward.argtypes = core.recurdrop_backward.argtypes = [ctypes.POINTER(CoreCall)]
    core.recurdrop_forward.restype = core.recurdrop_backward.restype = None
    core.recurdrop_choose_vector.argtypes = [ctypes.c_char_p]
    core.recurdrop_has_bfloat16.restype = ctypes.c_int32
    core.recurdrop_use_openmp.argtypes = [ctypes.c_void_p] * 3
    for name in ("keep_bits", "multipliers", "normals"):
        getattr(core, f"recurdrop_{name}").restype = None
    core.recurdrop_keep_bits.argtypes = [
        *(ctypes.c_uint64, ctypes.c_uint32, ctypes.POINTER(ctypes.c_int64), ctypes.c_uint64),
        *(ctypes.c_void_p, ctypes.c_int32),
    ]
    core.recurdrop_multipliers.argtypes = [
        *(ctypes.c_uint64, ctypes.c_uint32, ctypes.POINTER(ctypes.c_int64), ctypes.c_uint64, ctypes.c_double),
        *(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32),
    ]
    core.recurdrop_normals.argtypes = [
        *(ctypes.c_uint64, ctypes.c_uint32, ctypes.POINTER(ctypes.c_int64), ctypes.c_double, ctypes.c_double),
        *(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32),
    ]


CORE, MISSING = _open()
"""The core, and why there is none; one of the two is None. Read once, when this module is imported."""

# A plain value, for a compiler traces who reads it.
_bfloat16 = CORE is not None and bool(CORE.recurdrop_has_bfloat16())


def vectors() -> tuple[str, ...]:
    """Return the vector widths that were compiled and that this processor runs, best first."""
    return () if CORE is None else tuple(CORE.recurdrop_vectors().decode().split())


def vector() -> str | None:
    """Return the vector width in use."""
    return None if CORE is None else CORE.recurdrop_vector().decode()


def has_bfloat16() -> bool:
    """Return whether the vector width in use has kernels of bfloat16, as AVX-512 has on processors with AVX512_BF16."""
    return _bfloat16


def choose_vector(name: str) -> None:
    """Use a vector width for all calls from now on; not while a layer runs in another thread.

    Raises:
        ValueError: the core has none of that name for this processor.
    """
    global _bfloat16
    if CORE is None or not CORE.recurdrop_choose_vector(name.encode()):
        raise invalid(f"the vector width must be one of {', '.join(vectors())}", name, "Choose one of them.")
    _bfloat16 = bool(CORE.recurdrop_has_bfloat16())
