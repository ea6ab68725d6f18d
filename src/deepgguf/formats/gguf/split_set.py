"""A model in several files, as llama.cpp splits it: NAME-00001-of-00003.gguf and the keys `split.*`.

The rules are those of llama.cpp (llama_split_path, gguf-split.cpp, llama-model-loader.cpp): the first file has all keys
of the model; every file has its own number, the number of files and the number of tensors of the whole set.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from deepgguf.errors import CheckpointError, GGUFError, UsageError, printable
from deepgguf.files.files import FileFacts, Files
from deepgguf.files.find import find_file, is_address
from deepgguf.formats.gguf.decode import decode_header, read_header
from deepgguf.formats.gguf.types import GGUFHeader, ValueType

SPLIT_NUMBER, SPLIT_COUNT, SPLIT_TENSORS = "split.no", "split.count", "split.tensors.count"
ALIGNMENT_KEY = "general.alignment"
LAYOUT_KEYS = (ALIGNMENT_KEY, SPLIT_NUMBER, SPLIT_COUNT, SPLIT_TENSORS)
"""What says how a file's bytes are laid out, and nothing of the model."""

_NUMBERED = re.compile(r"-\d{5}-of-(\d{5})$")
_ADVICE = "fetch or split the set again"


def split_path(prefix: str, number: int, count: int) -> str:
    """The name of file `number` (from 0) of `count`, with `prefix` before it (llama.cpp, llama_split_path)."""
    return f"{prefix}-{number + 1:05d}-of-{count:05d}.gguf"


def unsplit_stem(name: str) -> str:
    """A file's name without its suffix, and without the number that `split_path` gives it."""
    return _NUMBERED.sub("", name.removesuffix(".gguf"))


def names_of_set(name: str) -> tuple[str, ...]:
    """The names of all files of the set that a file called `name` belongs to; none for another name."""
    stem = name.removesuffix(".gguf")
    found = _NUMBERED.search(stem)
    if found is None or stem == name:
        return ()
    count = int(found[1])
    names = tuple(split_path(stem[: found.start()], number, count) for number in range(count))
    return names if name in names else ()


def read_split_set(path: str | os.PathLike[str], *, forks: bool = False) -> tuple[GGUFHeader, ...]:
    """The headers of all files of the set that the file belongs to, in order; of the file alone if it is whole.

    Any file of the set may be given; `forks` as for `read_header`. Raises GGUFError for a missing file, naming it, and
    for files that contradict each other; and what `read_header` raises.
    """
    place, own = _place_of(path)
    return read_whole_set(place.read(own, forks), lambda name: place.read(name, forks), place.has)


def read_whole_set(
    given: GGUFHeader, read: Callable[[str], GGUFHeader], exists: Callable[[str], bool]
) -> tuple[GGUFHeader, ...]:
    """As `read_split_set`, of files beside the one with the header `given`, wherever they are, by their names."""
    count = 1 if SPLIT_COUNT not in given.keys else _number(given, SPLIT_COUNT, ValueType.UINT16)
    if count <= 1:
        return (given,)
    names = _file_names(given, count)
    own = Path(given.path).name
    _check_present(given.path.removesuffix(own), names, exists)
    headers = tuple(given if name == own else read(name) for name in names)
    for number, header in enumerate(headers):
        _check_number(header, number, count)
    _check_tensors(headers)
    return headers


def read_header_among(files: Files, file: FileFacts, path: str, *, forks: bool = False) -> GGUFHeader:
    """The header of one of `files`, called `path` in messages; `forks` and GGUFError as for `read_header`."""

    def read(offset: int, length: int) -> bytes:
        return files.read(file, offset, max(0, min(length, file.size - offset))).tobytes()

    return decode_header(read, file.size, path, forks=forks)


class _Place(Protocol):
    """Where the files of a set lie beside each other."""

    def has(self, name: str) -> bool:
        """Whether it is there."""

    def read(self, name: str, forks: bool) -> GGUFHeader:
        """Its header."""


class _Folder(NamedTuple):
    folder: Path

    def has(self, name: str) -> bool:
        return os.path.lexists(self.folder / name)

    def read(self, name: str, forks: bool) -> GGUFHeader:
        return read_header(self.folder / name, forks=forks)


class _Address(NamedTuple):
    """Files that are elsewhere; `prefix` is the folder among them, `address` that folder's."""

    files: Files
    prefix: str
    address: str

    def has(self, name: str) -> bool:
        try:
            return bool(self.files.facts(self.prefix + name))
        except CheckpointError:
            return False

    def read(self, name: str, forks: bool) -> GGUFHeader:
        try:
            file = self.files.facts(self.prefix + name)
        except CheckpointError as error:
            raise UsageError(self.address + name, error.found, error.advice) from None
        return read_header_among(self.files, file, self.address + name, forks=forks)


def _place_of(path: str | os.PathLike[str]) -> tuple[_Place, str]:
    """Where a file lies, and its name there."""
    if not is_address(path):
        return _Folder(Path(path).parent), Path(path).name
    files, name = find_file(path, "a GGUF file")
    folder = os.fspath(path).partition("?")[0].rpartition("/")[0]
    prefix, slash, own = name.rpartition("/")
    return _Address(files, prefix + slash, f"{folder}/"), own


def _number(header: GGUFHeader, key: str, type: ValueType) -> int:
    value = header.keys.get(key)
    if value is None:
        raise GGUFError(header.path, f"the file is part of a split set, but has no key {key}", _ADVICE)
    if value.type is not type or not isinstance(value.value, int):
        raise GGUFError(header.path, f"{key} has type {value.type.name}, and must be {type.name}", _ADVICE)
    return value.value


def _file_names(given: GGUFHeader, count: int) -> list[str]:
    """The names under which llama.cpp looks for the files of the set, beside the one that was given."""
    number = _number(given, SPLIT_NUMBER, ValueType.UINT16)
    if number >= count:
        raise GGUFError(
            given.path, f"{SPLIT_NUMBER} is {number}, and {SPLIT_COUNT} {count}; they count from 0", _ADVICE
        )
    name = Path(given.path).name
    suffix = split_path("", number, count)
    prefix = name.removesuffix(suffix)
    if not prefix or not name.endswith(suffix):
        found = f"is file {number + 1} of {count} of a split set, so its name must be NAME{suffix}"
        raise GGUFError(given.path, found, "give all files of the set their names back")
    return [split_path(prefix, other, count) for other in range(count)]


def _check_present(folder: str, names: list[str], exists: Callable[[str], bool]) -> None:
    missing = [name for name in names if not exists(name)]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        found = f"this file of a split set of {len(names)} is missing{more}"
        raise GGUFError(folder + missing[0], found, "fetch it into the folder of the others")


def _check_number(header: GGUFHeader, number: int, count: int) -> None:
    stated = _number(header, SPLIT_NUMBER, ValueType.UINT16)
    if stated != number:
        raise GGUFError(header.path, f"{SPLIT_NUMBER} is {stated}, and by its name the file has {number}", _ADVICE)
    stated = _number(header, SPLIT_COUNT, ValueType.UINT16)
    if stated != count:
        raise GGUFError(header.path, f"{SPLIT_COUNT} is {stated}, and {count} in another file of the set", _ADVICE)


def _check_tensors(headers: tuple[GGUFHeader, ...]) -> None:
    owners: dict[str, str] = {}
    for header in headers:
        for tensor in header.all_tensors:
            if tensor.name in owners:
                shown = printable(repr(tensor.name), 80)
                raise GGUFError(header.path, f"tensor {shown} is also in {owners[tensor.name]}", _ADVICE)
            owners[tensor.name] = header.path
    for header in headers:
        stated = _number(header, SPLIT_TENSORS, ValueType.INT32)
        if stated != len(owners):
            raise GGUFError(header.path, f"{SPLIT_TENSORS} is {stated}, and the set has {len(owners)}", _ADVICE)
