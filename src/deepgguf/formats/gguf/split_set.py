"""A model in several files, as llama.cpp splits it: NAME-00001-of-00003.gguf and the keys `split.*`.

The rules are those of llama.cpp (llama_split_path, gguf-split.cpp, llama-model-loader.cpp): the first file has all keys
of the model; every file has its own number, the number of files and the number of tensors of the whole set.
"""

import os
from collections.abc import Callable
from pathlib import Path

from deepgguf.errors import GGUFError, printable
from deepgguf.formats.gguf.decode import read_header
from deepgguf.formats.gguf.types import GGUFHeader, ValueType

_ADVICE = "fetch or split the set again"


def split_path(prefix: str, number: int, count: int) -> str:
    """The name of file `number` (from 0) of `count`, with `prefix` before it (llama.cpp, llama_split_path)."""
    return f"{prefix}-{number + 1:05d}-of-{count:05d}.gguf"


def read_split_set(path: str | os.PathLike[str], *, forks: bool = False) -> tuple[GGUFHeader, ...]:
    """The headers of all files of the set that the file belongs to, in order; of the file alone if it is whole.

    Any file of the set may be given; `forks` as for `read_header`. Raises GGUFError for a missing file, naming it, and
    for files that contradict each other; and what `read_header` raises.
    """
    folder = Path(path).parent
    return read_whole_set(
        read_header(path, forks=forks),
        lambda name: read_header(folder / name, forks=forks),
        lambda name: os.path.lexists(folder / name),
    )


def read_whole_set(
    given: GGUFHeader, read: Callable[[str], GGUFHeader], exists: Callable[[str], bool]
) -> tuple[GGUFHeader, ...]:
    """As `read_split_set`, of files beside the one with the header `given`, wherever they are, by their names."""
    count = 1 if "split.count" not in given.keys else _number(given, "split.count", ValueType.UINT16)
    if count <= 1:
        return (given,)
    names = _file_names(given, count)
    _check_present(Path(given.path).parent, names, exists)
    own = Path(given.path).name
    headers = tuple(given if name == own else read(name) for name in names)
    for number, header in enumerate(headers):
        _check_number(header, number, count)
    _check_tensors(headers)
    return headers


def _number(header: GGUFHeader, key: str, type: ValueType) -> int:
    value = header.keys.get(key)
    if value is None:
        raise GGUFError(header.path, f"the file is part of a split set, but has no key {key}", _ADVICE)
    if value.type is not type or not isinstance(value.value, int):
        raise GGUFError(header.path, f"{key} has type {value.type.name}, and must be {type.name}", _ADVICE)
    return value.value


def _file_names(given: GGUFHeader, count: int) -> list[str]:
    """The names under which llama.cpp looks for the files of the set, beside the one that was given."""
    number = _number(given, "split.no", ValueType.UINT16)
    if number >= count:
        raise GGUFError(given.path, f"split.no is {number}, and split.count {count}; they count from 0", _ADVICE)
    name = Path(given.path).name
    suffix = split_path("", number, count)
    prefix = name.removesuffix(suffix)
    if not prefix or not name.endswith(suffix):
        found = f"is file {number + 1} of {count} of a split set, so its name must be NAME{suffix}"
        raise GGUFError(given.path, found, "give all files of the set their names back")
    return [split_path(prefix, other, count) for other in range(count)]


def _check_present(folder: Path, names: list[str], exists: Callable[[str], bool]) -> None:
    missing = [name for name in names if not exists(name)]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        found = f"this file of a split set of {len(names)} is missing{more}"
        raise GGUFError(folder / missing[0], found, "fetch it into the folder of the others")


def _check_number(header: GGUFHeader, number: int, count: int) -> None:
    stated = _number(header, "split.no", ValueType.UINT16)
    if stated != number:
        raise GGUFError(header.path, f"split.no is {stated}, and by its name the file has {number}", _ADVICE)
    stated = _number(header, "split.count", ValueType.UINT16)
    if stated != count:
        raise GGUFError(header.path, f"split.count is {stated}, and {count} in another file of the set", _ADVICE)


def _check_tensors(headers: tuple[GGUFHeader, ...]) -> None:
    owners: dict[str, str] = {}
    for header in headers:
        for tensor in header.all_tensors:
            if tensor.name in owners:
                shown = printable(repr(tensor.name), 80)
                raise GGUFError(header.path, f"tensor {shown} is also in {owners[tensor.name]}", _ADVICE)
            owners[tensor.name] = header.path
    for header in headers:
        stated = _number(header, "split.tensors.count", ValueType.INT32)
        if stated != len(owners):
            raise GGUFError(header.path, f"split.tensors.count is {stated}, and the set has {len(owners)}", _ADVICE)
