"""A description of a GGUF as tables. Everything from the file is escaped before it reaches the terminal."""

import re
from collections.abc import Sequence
from itertools import islice

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deepgguf.errors import printable
from deepgguf.formats.gguf.describe import Description, KeyDescription, TensorDescription
from deepgguf.terminal.key_text import key_text
from deepgguf.terminal.sizes import count, ranges, size
from deepgguf.terminal.tables import facts_table, titled_table

_MOST_ROWS = 2000  # of a table, which takes a millisecond for each; a DeepSeek-V3 has 1,100 tensors
_BLOCK = re.compile(r"(?<=blk\.)\d+(?=\.)")


def render(description: Description, show_tensors: bool = False) -> RenderableType:
    """The whole description: facts, keys, types, then tensors: all if `show_tensors`, else alike ones together."""
    tensors = _tensors(description) if show_tensors else _tensor_groups(description.tensors)
    return Group(_facts(description), Text(), _keys(description.keys), Text(), _types(description), Text(), tensors)


def _text(value: object, style: str = "") -> Text:
    return Text(printable(value), style=style)


def _facts(description: Description) -> Table:
    table = facts_table()
    files = description.files
    weight = description.bits_per_weight
    facts = {
        "file" if len(files) == 1 else f"{len(files)} files": "\n".join(printable(file.path) for file in files),
        "name": printable(description.name) if description.name is not None else "not said",
        "architecture": printable(description.architecture) if description.architecture is not None else "not said",
        "file type": _file_type(description),
        "size": f"{size(description.size)} ({description.size:,} bytes)",
        "parameters": f"{count(description.parameters)} ({description.parameters:,})",
        "tensors": f"{len(description.tensors):,}",
        "bits per weight": "no weights" if weight is None else f"{weight:.2f}",
        "GGUF": f"version {files[0].version}, alignment {files[0].alignment}, data from byte {files[0].data_offset:,}",
    }
    for label, fact in facts.items():
        table.add_row(label, Text(fact))
    return table


def _file_type(description: Description) -> str:
    said, called = description.file_type, description.true_type
    if called == said:
        return said or "not said"
    return f"{called}, as its tensors are (general.file_type says {said})"


def _keys(keys: Sequence[KeyDescription]) -> Table:
    table = titled_table(f"Keys ({len(keys)})", "key", "type", "value")
    for key in keys[:_MOST_ROWS]:
        type = key.type if key.item_type is None else f"{key.item_type} × {key.length:,}"
        table.add_row(_text(key.name), Text(type.lower(), style="dim"), Text(key_text(key)))
    _say_more(table, len(keys))
    return table


def _types(description: Description) -> Table:
    table = titled_table(
        "Types", "type", "tensors", "parameters", "size", "share", numbers=("tensors", "parameters", "size", "share")
    )
    whole = sum(total.bytes for total in description.types)
    for total in description.types:
        share = f"{total.bytes / whole:.1%}"
        table.add_row(total.type, f"{total.tensors:,}", count(total.parameters), size(total.bytes), share)
    return table


def _tensors(description: Description) -> Table:
    several = len(description.files) > 1
    columns = ("tensor", "type", "shape", "offset", "size", *(("file",) if several else ()))
    table = titled_table(
        f"Tensors ({len(description.tensors):,})", *columns, numbers=("shape", "offset", "size", "file")
    )
    for tensor in description.tensors[:_MOST_ROWS]:
        file = (str(tensor.file + 1),) if several else ()
        table.add_row(
            _text(tensor.name), tensor.type, _shape(tensor.shape), f"{tensor.offset:,}", size(tensor.bytes), *file
        )
    _say_more(table, len(description.tensors))
    return table


def _tensor_groups(tensors: Sequence[TensorDescription]) -> Table:
    """Tensors that differ in the number of their block only, as one line with these numbers."""
    groups: dict[tuple[str, str, tuple[int, ...]], list[TensorDescription]] = {}
    for tensor in tensors:
        groups.setdefault((_BLOCK.sub("*", tensor.name), tensor.type, tensor.shape), []).append(tensor)
    table = titled_table(
        f"Tensors ({len(tensors):,})", "tensor", "blocks", "type", "shape", "size", numbers=("shape", "size")
    )
    for (pattern, type, shape), group in islice(groups.items(), _MOST_ROWS):
        blocks = [int(match[0]) for tensor in group if (match := _BLOCK.search(tensor.name))]
        nbytes = sum(tensor.bytes for tensor in group)
        table.add_row(_text(pattern), ranges(blocks), type, _shape(shape), size(nbytes))
    _say_more(table, len(groups))
    return table


def _say_more(table: Table, rows: int) -> None:
    if rows > _MOST_ROWS:
        table.add_row(Text(f"and {rows - _MOST_ROWS:,} more, all of them in the JSON", style="dim"))


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
