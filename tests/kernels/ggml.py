"""ggml's own quantizers, with which the kernels are compared bit by bit.

They are those of the library that libggml-python installs, and of xllamacpp's llama.cpp (October 2026) for a type that
has other bytes since.
"""

import ctypes
import multiprocessing
import os
from functools import cache
from importlib.util import find_spec
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

os.environ["GGML_NO_BACKTRACE"] = "1"


@cache
def _library(newer: bool) -> ctypes.CDLL:
    if not newer:
        return ctypes.CDLL(str(next(Path(libggml.__path__[0]).glob("lib*/libggml-base.so"))))
    package = find_spec("xllamacpp")
    assert package and package.origin
    return ctypes.CDLL(str(next(Path(package.origin).parent.glob("*.so"))))


@cache
def _quantizer(type: GGMLType) -> Any:
    """ggml_quantize_chunk, with the type's tables built, which takes up to half a minute."""
    library = _library(type in NEWER)
    library.ggml_quantize_init(int(type))
    quantize = library.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    return quantize


def ggml_quantize(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """The blocks that ggml_quantize_chunk makes of `rows` (2-D); `importance` has one weight per column."""
    rows = np.ascontiguousarray(rows, np.float32)
    out = np.zeros((rows.shape[0], row_bytes(type, rows.shape[1])), np.uint8)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    written = _quantizer(type)(
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
    """The same in another process; None if ggml ended it."""
    asked = _other_process()
    asked.send((type, rows, importance))
    answer: NDArray[np.uint8] | None = asked.recv()
    return answer


@cache
def _other_process() -> Connection:
    """A small process, for it is forked where ggml ends what it has forked: half of some tests' examples do."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    context.Process(target=_serve, args=(its,), daemon=True).start()
    return ours


def _serve(asked: Connection) -> None:
    """Answers with blocks, made in a fork for each type; with None if ggml ended that, and the next is another."""
    forks: dict[GGMLType, tuple[int, Connection]] = {}
    while True:
        type, rows, importance = asked.recv()
        if type not in forks:
            _quantizer(type)
            forks[type] = _forked()
        child, fork = forks[type]
        try:
            fork.send((type, rows, importance))
            asked.send(fork.recv())
        except (EOFError, BrokenPipeError, ConnectionResetError):
            os.waitpid(child, 0)
            del forks[type]
            asked.send(None)


def _forked() -> tuple[int, Connection]:
    ours, its = multiprocessing.Pipe()
    child = os.fork()
    if child:
        its.close()
        return child, ours
    try:
        ours.close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        while True:
            its.send(ggml_quantize(*its.recv()))
    finally:
        os._exit(1)
