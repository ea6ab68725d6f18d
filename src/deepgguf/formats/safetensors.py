"""The header of a safetensors file, trusted only when every byte of the file is accounted for.

The format: https://huggingface.co/docs/safetensors (8 bytes of length, a JSON object, the tensors' data).
"""

import msgspec

from deepgguf.errors import CheckpointError
from deepgguf.files.files import FileFacts, Files
from deepgguf.formats.safetensors_entries import Entry, header_entries
from deepgguf.formats.stand_in import PREFIX_BYTES, stand_in

HEADER_CAP = 32_000_000  # bytes; all headers of DeepSeek-V3 together have 12,000,000
MAX_DIMENSIONS = 4

# The types of the safetensors crate (tensor.rs, enum Dtype), in bits per element.
DTYPE_BITS: dict[str, int] = {
    **dict.fromkeys(["F64", "I64", "U64", "C64"], 64),
    **dict.fromkeys(["F32", "I32", "U32"], 32),
    **dict.fromkeys(["F16", "BF16", "I16", "U16"], 16),
    **dict.fromkeys(["F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8", "U8", "BOOL"], 8),
    **dict.fromkeys(["F6_E2M3", "F6_E3M2"], 6),
    "F4": 4,
}


class TensorHeader(msgspec.Struct, frozen=True, gc=False):
    """What a file says of a tensor; `offset` counts from the start of the file, in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


def read_header(files: Files, file: FileFacts) -> list[TensorHeader]:
    """The tensors of a safetensors file, in the order of their data; CheckpointError if it is not one."""
    prefix = files.read(file, 0, min(file.size, PREFIX_BYTES)).tobytes()
    instead = stand_in(prefix)
    if instead:
        raise CheckpointError(file.name, *instead)
    if file.size < 8:
        raise CheckpointError(
            file.name, f"{file.size} bytes, too short for a safetensors file", "download the file again"
        )
    length = int.from_bytes(prefix[:8], "little")
    if length > HEADER_CAP:
        raise CheckpointError(file.name, f"a header of {length:,} bytes, more than the {HEADER_CAP:,} that are allowed")
    if 8 + length > file.size:
        raise CheckpointError(
            file.name,
            f"a header of {length:,} bytes at byte 8 ends after the file's {file.size:,} bytes",
            "download the file again",
        )
    return parse_header(files.read(file, 8, length).tobytes(), 8 + length, file.size, file.name)


def parse_header(text: bytes, data_start: int, file_size: int, where: str) -> list[TensorHeader]:
    """The tensors that the header `text` of the file `where` declares, in the order of their data.

    `data_start` is the byte of the file at which the data start, `file_size` its size.

    A tensor with a dimension of zero has no bytes; what that means is for the caller to say.

    Raises CheckpointError unless each tensor has a printable name, a known dtype, at most 4 dimensions, none of them
    negative, and as many bytes as these need, and unless the tensors cover the data without hole, overlap or rest.
    """
    entries = header_entries(text, where)
    sizes: dict[tuple[str, tuple[int, ...]], int] = {}
    tensors, position = [], 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        start, stop = entry.data_offsets
        kind = (entry.dtype, entry.shape)
        nbytes = sizes.get(kind)
        if nbytes is None:
            nbytes = sizes[kind] = _extent(entry, f"{where}, tensor {name}")
        if start != position or stop - start != nbytes:
            raise CheckpointError(f"{where}, tensor {name}", _misplaced(entry, position, nbytes), "download it again")
        tensors.append(TensorHeader(name, entry.dtype, entry.shape, data_start + start, nbytes))
        position = stop
    if data_start + position != file_size:
        raise CheckpointError(
            where,
            f"{file_size:,} bytes, but header and tensors have {data_start + position:,}",
            "download the file again",
        )
    if not "".join(entries).isprintable():
        name = next(n for n in entries if not n.isprintable())
        raise CheckpointError(f"{where}, tensor {name}", "control or invisible characters in a tensor's name")
    return tensors


def _extent(entry: Entry, where: str) -> int:
    """The bytes that dtype and shape need."""
    bits = DTYPE_BITS.get(entry.dtype)
    if bits is None:
        raise CheckpointError(where, f"unknown dtype {entry.dtype!r}")
    if len(entry.shape) > MAX_DIMENSIONS:
        raise CheckpointError(where, f"{len(entry.shape)} dimensions, at most {MAX_DIMENSIONS} are allowed")
    for dimension in entry.shape:
        if dimension < 0:
            raise CheckpointError(where, f"shape {list(entry.shape)}, no dimension can be negative")
        bits *= dimension
    if bits % 8:
        raise CheckpointError(where, f"{bits} bits of {entry.dtype} are not a whole number of bytes")
    return bits // 8


def _misplaced(entry: Entry, position: int, nbytes: int) -> str:
    start, stop = entry.data_offsets
    if start < 0 or stop < start:
        return f"data_offsets {[start, stop]} are not a range of bytes"
    if stop - start != nbytes:
        needs = f"{entry.dtype} {list(entry.shape)} needs {nbytes:,}"
        return f"data_offsets {[start, stop]} hold {stop - start:,} bytes, {needs}"
    kind = "leaves a hole" if start > position else "overlaps the tensor before it"
    return f"begins at byte {start:,} of the data and {kind}, expected {position:,}"
