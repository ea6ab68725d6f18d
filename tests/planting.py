"""Converted samples, and faults planted in them."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import numpy as np

import deepgguf
from deepgguf import compare
from deepgguf.checkpoint.shards import open_shards
from deepgguf.encodings import encoding_of
from deepgguf.encodings.encoding import Stored
from deepgguf.executors.buffers import Buffers
from deepgguf.files.local import LocalFiles
from deepgguf.formats.gguf.decode import read_header
from deepgguf.formats.gguf.encode import encode_header, lay_out
from deepgguf.formats.gguf.types import GGMLType, GGUFHeader, TensorInfo, Value, row_bytes
from deepgguf.verification.report import Difference


def decode(type: GGMLType, data: np.ndarray, cols: int) -> np.ndarray:
    """What uint8 [rows, row_bytes(type, cols)] stands for, float32 [rows, cols]."""
    return encoding_of(type).values(Stored("", 0, len(data), cols, (np.ascontiguousarray(data).ravel(),)), Buffers())


def convert(source: Path, file: Path, target: str = "llama.cpp", type: str = "auto", **choices: object) -> Path:
    deepgguf.convert(source, file, target=target, type=type, **{"jobs": 1, "manifest": False} | choices)
    return file


def copy_of(file: Path, folder: Path) -> Path:
    """A copy that may be damaged; with its manifest, if it has one."""
    for path in (file, Path(f"{file}.json")):
        if path.exists():
            shutil.copyfile(path, folder / path.name)
    return folder / file.name


def differences(file: Path, source: Path | None = None) -> list[Difference]:
    return list(compare(file, source, jobs=1).differences)


def the_difference(file: Path, source: Path | None = None) -> Difference:
    (one,) = differences(file, source)
    return one


def tensor_named(header: GGUFHeader, name: str) -> TensorInfo:
    return next(t for t in header.tensors if t.name == name)


def change_tensor(file: Path, name: str, change: Callable[[np.ndarray, TensorInfo], np.ndarray]) -> TensorInfo:
    """Puts `change(bytes, info)` in the place of a tensor's bytes."""
    header = read_header(file)
    info = tensor_named(header, name)
    data = np.fromfile(file, np.uint8)
    start = header.data_offset + info.offset
    changed = change(data[start : start + info.nbytes].copy(), info)
    data[start : start + info.nbytes] = np.ascontiguousarray(changed).view(np.uint8).ravel()
    data.tofile(file)
    return info


def flip_bit(file: Path, name: str, byte: int, bit: int) -> None:
    def flip(data: np.ndarray, info: TensorInfo) -> np.ndarray:
        data[byte] ^= 1 << bit
        return data

    change_tensor(file, name, flip)


def exchange_experts(file: Path, name: str, one: int, other: int) -> None:
    def exchange(data: np.ndarray, info: TensorInfo) -> np.ndarray:
        experts = data.reshape(info.shape[0], -1)
        experts[[one, other]] = experts[[other, one]]
        return experts

    change_tensor(file, name, exchange)


def rewrite(
    file: Path,
    keys: Callable[[dict[str, Value]], dict[str, Value]] = lambda keys: keys,
    tensors: Callable[[dict[str, tuple[GGMLType, tuple[int, ...], bytes]]], dict] = lambda tensors: tensors,
) -> None:
    """Writes the file again with other keys or tensors: name to (type, shape, bytes)."""
    header, data = read_header(file), file.read_bytes()
    start = header.data_offset
    old = {t.name: (t.type, t.shape, data[start + t.offset : start + t.offset + t.nbytes]) for t in header.tensors}
    new = tensors(old)
    infos = lay_out((name, type, shape) for name, (type, shape, _) in new.items())
    padded = b"".join(data + bytes(-len(data) % 32) for _, _, data in new.values())
    file.write_bytes(encode_header(keys(dict(header.keys)), infos) + padded)


def with_tensors(names: Iterable[str], type: GGMLType, shape: tuple[int, ...]) -> Callable[[dict], dict]:
    """Adds tensors of zeros."""
    nbytes = int(np.prod(shape[:-1])) * row_bytes(type, shape[-1])
    return lambda tensors: tensors | {name: (type, shape, bytes(nbytes)) for name in names}


def with_value(name: str, value: object) -> Callable[[dict[str, Value]], dict[str, Value]]:
    return lambda keys: keys | {name: msgspec.structs.replace(keys[name], value=value)}


def change_source(source: Path, name: str, number: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Puts `change(bytes)` in the place of the bytes of a source tensor's blob."""
    shards, _ = open_shards(LocalFiles(source), {})
    blob = shards.tensors[name].blobs[number]
    path = source / shards.files[blob.file].name
    data = np.fromfile(path, np.uint8)
    there = slice(blob.offset, blob.offset + blob.nbytes)
    data[there] = change(data[there].copy())
    data.tofile(path)
