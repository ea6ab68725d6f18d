"""A description of a GGUF as tables. Everything from the file is escaped before it reaches the terminal."""

import re
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deepgguf.errors import printable
from deepgguf.gguf.describe import Description, KeyDescription, TensorDescription

_LONGEST_VALUE = 120
_BLOCK = re.compile(r"(?<=blk\.)\d+(?=\.)")


def render(description: Description, show_tensors: bool = False) -> RenderableType:
    """The whole description: facts, keys, types, then tensors: all if `show_tensors`, else alike ones together."""
    tensors = _tensors(description) if show_tensors else _tensor_groups(description.tensors)
    return Group(_facts(description), Text(), _keys(description.keys), Text(), _types(description), Text(), tensors)


def _text(value: object, style: str = "") -> Text:
    return Text(printable(value), style=style)


def _table(title: str, *columns: str, numbers: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def _facts(description: Description) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    files = description.files
    weight = description.bits_per_weight
    facts = {
        "file" if len(files) == 1 else f"{len(files)} files": "\n".join(printable(file.path) for file in files),
        "name": printable(description.name) if description.name is not None else "not said",
        "architecture": printable(description.architecture) if description.architecture is not None else "not said",
        "file type": description.file_type or "not said",
        "size": f"{_size(description.size)} ({description.size:,} bytes)",
        "parameters": f"{_count(description.parameters)} ({description.parameters:,})",
        "tensors": f"{len(description.tensors):,}",
        "bits per weight": "no weights" if weight is None else f"{weight:.2f}",
        "GGUF": f"version {files[0].version}, alignment {files[0].alignment}, data from byte {files[0].data_offset:,}",
    }
    for label, fact in facts.items():
        table.add_row(label, Text(fact))
    return table


def _keys(keys: Sequence[KeyDescription]) -> Table:
    table = _table(f"Keys ({len(keys)})", "key", "type", "value")
    for key in keys:
        type = key.type if key.item_type is None else f"{key.item_type} × {key.length:,}"
        table.add_row(_text(key.name), Text(type.lower(), style="dim"), Text(_value(key)))
    return table


def _value(key: KeyDescription) -> str:
    if isinstance(key.value, list):
        return _array(key.value, key.length or 0)
    return _item(key.value)


def _array(items: Sequence[object], length: int) -> str:
    """As many items as fit, and dots for the others."""
    shown: list[str] = []
    width = 0
    for item in map(_item, items):
        width += len(item) + 2
        if shown and width > _LONGEST_VALUE:
            break
        shown.append(item)
    if len(shown) < length:
        shown.append("…")
    return f"[{', '.join(shown)}]"


def _item(value: object) -> str:
    if isinstance(value, str):
        more = f"… ({len(value):,} characters)" if len(value) > _LONGEST_VALUE else ""
        return printable(repr(value[:_LONGEST_VALUE]), 10 * _LONGEST_VALUE) + more
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _types(description: Description) -> Table:
    table = _table(
        "Types", "type", "tensors", "parameters", "size", "share", numbers=("tensors", "parameters", "size", "share")
    )
    whole = sum(total.bytes for total in description.types)
    for total in description.types:
        share = f"{total.bytes / whole:.1%}"
        table.add_row(total.type, f"{total.tensors:,}", _count(total.parameters), _size(total.bytes), share)
    return table


def _tensors(description: Description) -> Table:
    several = len(description.files) > 1
    columns = ("tensor", "type", "shape", "offset", "size", *(("file",) if several else ()))
    table = _table(f"Tensors ({len(description.tensors):,})", *columns, numbers=("shape", "offset", "size", "file"))
    for tensor in description.tensors:
        file = (str(tensor.file + 1),) if several else ()
        table.add_row(
            _text(tensor.name), tensor.type, _shape(tensor.shape), f"{tensor.offset:,}", _size(tensor.bytes), *file
        )
    return table


def _tensor_groups(tensors: Sequence[TensorDescription]) -> Table:
    """Tensors that differ in the number of their block only, as one line with these numbers."""
    groups: dict[tuple[str, str, tuple[int, ...]], list[TensorDescription]] = {}
    for tensor in tensors:
        groups.setdefault((_BLOCK.sub("*", tensor.name), tensor.type, tensor.shape), []).append(tensor)
    table = _table(
        f"Tensors ({len(tensors):,})", "tensor", "blocks", "type", "shape", "size", numbers=("shape", "size")
    )
    for (pattern, type, shape), group in groups.items():
        blocks = [int(match[0]) for tensor in group if (match := _BLOCK.search(tensor.name))]
        size = _size(sum(tensor.bytes for tensor in group))
        table.add_row(_text(pattern), _ranges(blocks), type, _shape(shape), size)
    return table


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers with runs drawn together: 0–2, 5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("–".join(map(str, run)) for run in runs)


def _size(nbytes: int) -> str:
    return _scaled(nbytes, ("bytes", "kB", "MB", "GB", "TB", "PB"), " ")


def _count(number: int) -> str:
    return _scaled(number, ("", "K", "M", "B", "T"), "")


def _scaled(number: int, units: Sequence[str], space: str) -> str:
    scaled, unit = float(number), 0
    while scaled >= 999.5 and unit + 1 < len(units):
        scaled, unit = scaled / 1000, unit + 1
    return f"{scaled:.3g}{space}{units[unit]}" if unit else f"{number}{space}{units[0]}"
