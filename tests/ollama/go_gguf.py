"""GGUF as Ollama's server reads it (fs/ggml/gguf.go), with its error texts, and as llama-quantize COPY writes it anew."""

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gguf

ITEMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
SPLIT = ("split.no", "split.count", "split.tensors.count")


class GoError(Exception):
    """An error of the server: its text."""


class Key(NamedTuple):
    type: int
    value: Any
    raw: bytes


class Tensor(NamedTuple):
    name: str
    dimensions: tuple[int, ...]
    kind: int
    data: bytes


class Decoded(NamedTuple):
    keys: dict[str, Key]
    tensors: list[Tensor]
    parameters: int

    def of(self, name: str, default: Any = None) -> Any:
        """A key's value; without `general.` or `tokenizer.` before it, the architecture's."""
        if not name.startswith(("general.", "tokenizer.")) and name not in self.keys:
            name = f"{self.of('general.architecture', 'unknown')}.{name}"
        return self.keys[name].value if name in self.keys else default


def decode(path: Path) -> Decoded:
    data = path.read_bytes()
    if data[:4] != b"GGUF":
        raise GoError("supplied file was not in GGUF format")
    at = 4

    def take(form: str) -> Any:
        nonlocal at
        size = struct.calcsize(f"<{form}")
        if at + size > len(data):
            raise GoError("EOF" if at >= len(data) else "unexpected EOF")
        (value,) = struct.unpack_from(f"<{form}", data, at)
        at += size
        return value

    def text() -> str:
        nonlocal at
        length = take("Q")
        if at + length > len(data):
            raise GoError("unexpected EOF")
        at += length
        return data[at - length : at].decode()

    def value(type: int) -> Any:
        if type == STRING:
            return text()
        if type == ARRAY:
            item, count = take("I"), take("Q")
            return [value(item) for _ in range(count)]
        return take(ITEMS[type])

    take("I")
    count, pairs = take("Q"), take("Q")
    keys = {}
    for _ in range(pairs):
        name = text()
        start, type = at, take("I")
        found = value(type)
        keys[name] = Key(type, found, data[start:at])
    infos = []
    for _ in range(count):
        name, dimensions = text(), take("I")
        shape = tuple(take("Q") for _ in range(dimensions))
        infos.append((name, shape, take("I"), take("Q")))
    alignment = keys["general.alignment"].value if "general.alignment" in keys else 32
    start = -(-at // alignment) * alignment
    tensors = []
    for name, shape, kind, offset in infos:
        weights, nbytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
        size = math.prod(shape) // weights * nbytes
        if start + offset + size > len(data):
            end = start + offset + size
            raise GoError(f'tensor "{name}" offset+size ({end}) exceeds file size ({len(data)})')
        tensors.append(Tensor(name, shape, kind, data[start + offset : start + offset + size]))
    return Decoded(keys, tensors, sum(math.prod(shape) for _, shape, _, _ in infos))


def written_anew(parts: Sequence[Decoded]) -> bytes:
    """All tensors sorted by name, keys sorted, no split keys: the same model in other bytes."""
    keys = {name: key for name, key in sorted(parts[0].keys.items()) if name not in SPLIT}
    tensors = sorted(tensor for part in parts for tensor in part.tensors)
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(keys))]
    for name, key in keys.items():
        head += [struct.pack("<Q", len(name.encode())), name.encode(), key.raw]
    body, offset = [], 0
    for tensor in tensors:
        name, dimensions = tensor.name.encode(), len(tensor.dimensions)
        head += [struct.pack("<Q", len(name)), name]
        head.append(struct.pack(f"<I{dimensions}QIQ", dimensions, *tensor.dimensions, tensor.kind, offset))
        body.append(tensor.data.ljust(-(-len(tensor.data) // 32) * 32, b"\0"))
        offset += len(body[-1])
    header = b"".join(head)
    return header.ljust(-(-len(header) // 32) * 32, b"\0") + b"".join(body)
