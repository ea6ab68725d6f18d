"""A writer of GGUF bytes that can lie about every number in them."""

import struct
from collections.abc import Sequence

UINT8, UINT32, BOOL, STRING, ARRAY, UINT64 = 0, 4, 7, 8, 9, 10
F32, Q4_K = 0, 12


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def u64(number: int) -> bytes:
    return struct.pack("<Q", number)


def text(content: bytes, length: int | None = None) -> bytes:
    return u64(len(content) if length is None else length) + content


def key(name: bytes, type: int = UINT8, value: bytes = b"\x01") -> bytes:
    return text(name) + u32(type) + value


def array(item_type: int, length: int, items: bytes = b"") -> bytes:
    return u32(item_type) + u64(length) + items


def tensor(
    name: bytes = b"w", dims: Sequence[int] = (8,), type: int = F32, offset: int = 0, count: int | None = None
) -> bytes:
    """`dims` as they are stored, the fastest first; `count` is the claimed number of dimensions."""
    stored = b"".join(map(u64, dims))
    return text(name) + u32(len(dims) if count is None else count) + stored + u32(type) + u64(offset)


def gguf(
    keys: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: int = 0,
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    key_count: int | None = None,
    tensor_count: int | None = None,
) -> bytes:
    """A file with `data` zero bytes after the header, which is padded to 32."""
    counts = (len(tensors) if tensor_count is None else tensor_count, len(keys) if key_count is None else key_count)
    header = magic + struct.pack("<IQQ", version, *counts) + b"".join((*keys, *tensors))
    return header + bytes(-len(header) % 32 + data)
