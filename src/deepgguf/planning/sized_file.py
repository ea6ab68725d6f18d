"""The size of a planned file, which is exact before a byte is written."""

from deepgguf.errors import UsageError
from deepgguf.formats.gguf.encode import encode_header, padded
from deepgguf.formats.gguf.types import Value
from deepgguf.planning.schema import PlannedFile, PlannedTensor

_LONGEST_NAME = 255 - len(".part.journal")  # bytes; what lies beside a file while it is written has a longer name


def sized_file(name: str, kind: str, keys: dict[str, Value], tensors: tuple[PlannedTensor, ...]) -> PlannedFile:
    """The file with its sizes: header, then data up to the last tensor's padded end.

    UsageError if no file system could hold its name.
    """
    length = len(name.encode(errors="surrogateescape"))
    if length > _LONGEST_NAME:
        found = f"the file's name would have {length} bytes, and {_LONGEST_NAME} are possible"
        raise UsageError("`output`", found, "give a shorter name")
    infos = [t.info for t in tensors]
    data_offset = len(encode_header(keys, infos))
    end = max((padded(i.offset + i.nbytes) for i in infos), default=0)
    return PlannedFile(name, kind, keys, tensors, data_offset, data_offset + end)
