"""How a checkpoint's tensors are spread over safetensors files, and what these say of themselves."""

import json
import struct
import zlib
from collections.abc import Iterator, Sequence

import msgspec

from deepgguf.samples.tensors import SampleTensor


class Shard(msgspec.Struct, frozen=True):
    """One safetensors file: its name, the bytes before its data, and its tensors in order without gaps."""

    file: str
    header: bytes
    tensors: Sequence[SampleTensor]

    @property
    def nbytes(self) -> int:
        """Bytes of the file."""
        return len(self.header) + sum(tensor.nbytes for tensor in self.tensors)

    def placed(self) -> Iterator[tuple[SampleTensor, int]]:
        """Every tensor with the offset of its data in the file, in bytes."""
        offset = len(self.header)
        for tensor in self.tensors:
            yield tensor, offset
            offset += tensor.nbytes


def scattered(tensors: Sequence[SampleTensor]) -> list[SampleTensor]:
    """The tensors in an order that parts scales from their weights, as in DeepSeek's own release."""
    return sorted(tensors, key=lambda tensor: zlib.crc32(tensor.name[::-1].encode()))


def split(tensors: Sequence[SampleTensor], count: int, digits: int = 6) -> list[Shard]:
    """At most `count` shards of about the same size; fewer where single tensors exceed a shard's share.

    Names have their number in so many `digits`, 6 in DeepSeek-V3's release. A shard ends with the tensor by which all
    shards so far reach their share of the bytes.
    """
    total, taken = sum(tensor.nbytes for tensor in tensors), 0
    groups: list[list[SampleTensor]] = [[]]
    for tensor in tensors:
        if len(groups) < count and taken * count >= total * len(groups):
            groups.append([])
        groups[-1].append(tensor)
        taken += tensor.nbytes
    if len(groups) == 1:
        return [Shard("model.safetensors", _header(tensors), tensors)]
    return [
        Shard(f"model-{number:05d}-of-{len(groups):0{digits}d}.safetensors", _header(group), group)
        for number, group in enumerate(groups, 1)
    ]


def index(shards: Sequence[Shard]) -> dict[str, object]:
    """The content of model.safetensors.index.json; `total_size` counts the tensors' bytes, not the headers'."""
    return {
        "metadata": {"total_size": sum(tensor.nbytes for shard in shards for tensor in shard.tensors)},
        "weight_map": {tensor.name: shard.file for shard in shards for tensor in shard.tensors},
    }


def _header(tensors: Sequence[SampleTensor]) -> bytes:
    """Length and JSON of a safetensors header, padded with spaces to a multiple of 8 bytes."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.nbytes
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
