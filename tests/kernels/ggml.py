"""ggml's own quantizers, with which the kernels are compared bit by bit.

They are those of the library that libggml-python installs, and of xllamacpp's llama.cpp (October 2026) for a type that
has other bytes since.
"""

import ctypes
import faulthandler
import os
from functools import cache
from importlib.util import find_spec
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import libggml
import numpy as np
from numpy.typing import NDArray

from deepgguf.formats.gguf.types import GGMLType, row_bytes

NEWER = {GGMLType.IQ1_M}  # whose sums have had another order since

# Types whose quantizers end the process where weights or importances are out of all proportion.
ASSERTING = {
    *(GGMLType.IQ1_S, GGMLType.IQ1_M, GGMLType.IQ2_XXS, GGMLType.IQ2_XS, GGMLType.IQ2_S),
    *(GGMLType.IQ3_XXS, GGMLType.IQ3_S),
}

# Between these magnitudes, and at zero, they do not.
SAFE = (1e-20, 1e8)

os.environ["GGML_NO_BACKTRACE"] = "1"


@cache
def _library(package_name: str) -> ctypes.CDLL:
    if package_name == "libggml":
        return ctypes.CDLL(str(next(Path(libggml.__path__[0]).glob("lib*/libggml-base.so"))))
    package = find_spec(package_name)
    assert package and package.origin
    return ctypes.CDLL(str(next(Path(package.origin).parent.glob("*.so"))))


@cache
def _quantizer(type: GGMLType, package_name: str) -> Any:
    """ggml_quantize_chunk, with the type's tables built, which takes up to half a minute."""
    library = _library(package_name)
    library.ggml_quantize_init(int(type))
    quantize = library.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    return quantize


def ggml_quantize(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """The blocks that ggml_quantize_chunk makes of `rows` (2-D); `importance` has one weight per column."""
    return quantized_by(_package(type), type, rows, importance)


def _package(type: GGMLType) -> str:
    return "xllamacpp" if type in NEWER else "libggml"


def quantized_by(
    package_name: str, type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """The same by the ggml of one of the two packages."""
    rows = np.ascontiguousarray(rows, np.float32)
    out = np.zeros((rows.shape[0], row_bytes(type, rows.shape[1])), np.uint8)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    written = _quantizer(type, package_name)(
        int(type),
        rows.ctypes.data,
        out.ctypes.data,
        0,
        rows.shape[0],
        rows.shape[1],
        None if weights is None else weights.ctypes.data,
    )
    assert written == out.nbytes
    return out


def ggml_quantize_or_die(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> NDArray[np.uint8] | None:
    """The same in a process of its own, unless all numbers are ordinary; None if ggml ended it."""
    if _are_safe(rows) and (importance is None or _are_safe(importance)):
        return ggml_quantize(type, rows, importance)
    if type not in _workers:
        _quantizer(type, _package(type))
        _workers[type] = _start_worker(type)
    pid, connection = _workers[type]
    try:
        connection.send((rows, importance))
        blocks: NDArray[np.uint8] = connection.recv()
    except (EOFError, ConnectionError):
        os.waitpid(pid, 0)
        del _workers[type]
        return None
    return blocks


# A process for each type, with the type's tables, which answers until ggml ends it.
_workers: dict[GGMLType, tuple[int, Connection]] = {}


def _start_worker(type: GGMLType) -> tuple[int, Connection]:
    ours, its = Pipe()
    pid = os.fork()
    if pid:
        its.close()
        return pid, ours
    try:
        ours.close()
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        while True:
            its.send(ggml_quantize(type, *its.recv()))
    finally:
        os._exit(1)


def _are_safe(values: NDArray[np.float32]) -> bool:
    magnitudes = np.abs(values[values != 0])
    return bool(((magnitudes >= SAFE[0]) & (magnitudes <= SAFE[1])).all())
