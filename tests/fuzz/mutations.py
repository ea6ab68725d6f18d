"""Files that were sound, changed at random by their structure: a JSON value, a header, a number in a GGUF."""

import json
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORDS = ["", "..", "../x", "\0", "\x1b[2J", "\u202e", "\ud800", "a b"]
LARGEST = 4 << 20  # bytes of a file that is worth changing
# Words that a reader takes for something.
KNOWN = ["yarn", "fp8", "sigmoid", "noaux_tc", "greedy", "BF16", "F32", "F8_E4M3", "U8", "Split", "default", "Q8_0"]
SPECIAL_TEXTS = [b"\xef\xbb\xbf", b"[" * 3000, b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n"]
NUMBERS = [
    *(0, 1, -1, 2, 3, 4, 31, 32, 33, 64),
    *(2**16, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 10**39, 10**41),
]
ODD = [None, True, False, 0.5, -0.0, 1e308, float("nan"), float("inf"), [], {}, [[]], {"": 0}]
_AGAIN = "\0again"


def json_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) within `value`."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from json_places(value[key])


def mutate_json(text: bytes, chance: random.Random, known: list[str]) -> bytes:
    """`text` with one value replaced, removed, doubled, renamed, swapped or given twice; unchanged if it is not JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    places = list(json_places(value))
    if not places:
        return text
    container, key = chance.choice(places)
    other_container, other_key = chance.choice(places)
    words, again = [*WORDS, *known, *known], ""
    how = chance.randrange(9)
    if how == 0:
        container[key] = chance.choice([*words, *NUMBERS, *ODD])
    elif how == 1:
        del container[key]
    elif how == 2 and isinstance(container[key], int):
        container[key] += chance.choice([-1, 1, 2, -8, 64, 256])
    elif how == 3 and isinstance(container, dict):
        container[chance.choice([*words, str(other_key)])] = container.pop(key)
    elif how == 4 and isinstance(container, list):
        container.insert(key, container[key])
    elif how == 5 and isinstance(container, dict):
        container[_AGAIN], again = container[key], key
    elif how == 6 and isinstance(container, dict):
        container[chance.choice([*words, str(other_key)])] = chance.choice([*words, *NUMBERS, *ODD])
    elif how == 7 and isinstance(other_container[other_key], str | int | float | None):
        container[key] = other_container[other_key]
    else:
        container[key] = chance.choice(words) if isinstance(container[key], str) else chance.choice(NUMBERS)
    try:
        changed = json.dumps(value, ensure_ascii=chance.random() < 0.5).replace(json.dumps(_AGAIN), json.dumps(again))
        return changed.encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return text


def mutate_safetensors(data: bytes, chance: random.Random, known: list[str]) -> bytes:
    """The header mutated as JSON, its length as a rule set right."""
    length = int.from_bytes(data[:8], "little")
    text = mutate_json(data[8 : 8 + length].rstrip(), chance, known)
    stated = len(text) if chance.random() < 0.9 else chance.choice(NUMBERS) % 2**64
    return struct.pack("<Q", stated) + text + data[8 + length :]


def mutate_gguf(data: bytes, chance: random.Random, known: list[str]) -> bytes:
    """A number where one may stand, a piece doubled or cut out."""
    at = chance.randrange(len(data) + 1)
    how = chance.randrange(4)
    if how == 0:
        return data[:at] + struct.pack("<Q", abs(chance.choice(NUMBERS)) % 2**64) + data[at + 8 :]
    if how == 1:
        return data[:at] + struct.pack("<I", abs(chance.choice(NUMBERS)) % 2**32) + data[at + 4 :]
    stop = min(len(data), at + chance.randrange(1, 64))
    return data[:stop] + data[at:] if how == 2 else data[:at] + data[stop:]


def damage_a_file(folder: Path, chance: random.Random) -> None:
    """Changes one of the files in `folder` or below, by its kind, or puts something else in its place."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size <= LARGEST)
    if not files:
        return
    path = chance.choice(files)
    if path.is_symlink() and path.readlink().is_absolute():
        return
    if chance.random() < 0.12:
        _put_something_else(path, chance)
        return
    changed, times = _damaged(path.name, path.read_bytes() if os.access(path, os.R_OK) else b"", chance), path.stat()
    path.unlink()  # hard links share their bytes: the name gets a file of its own
    path.write_bytes(changed)
    if chance.random() < 0.5:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _damaged(name: str, content: bytes, chance: random.Random) -> bytes:
    """The content of a file called `name`, changed as its kind suggests, or as the accidents of disks and copies do."""
    by_kind = {".safetensors": mutate_safetensors, ".gguf": mutate_gguf, ".part": mutate_gguf}
    if chance.random() < 0.25:
        return _damaged_bytes(content, chance)
    if name.endswith(".journal"):
        line, newline, records = content.partition(b"\n")
        return mutate_json(line, chance, []) + newline + records
    mutate = next((mutate for ending, mutate in by_kind.items() if name.endswith(ending)), mutate_json)
    for _ in range(chance.choice([1, 1, 2, 3])):
        content = mutate(content, chance, KNOWN)
    return content


def _damaged_bytes(content: bytes, chance: random.Random) -> bytes:
    # Headers are at the beginning, and most is behind them.
    at = chance.randrange(min(len(content), chance.choice([64, 2048, 2**40])) + 1)
    how = chance.randrange(7)
    if how == 0:
        return content[:at]
    if how == 1:
        return (
            content[:at]
            + bytes([(content[at] if at < len(content) else 0) ^ 1 << chance.randrange(8)])
            + content[at + 1 :]
        )
    if how == 2:
        return content[:at] + chance.randbytes(8) + content[at + 8 :]
    if how == 3:
        return content + chance.choice([b"\0", b"\n", content[:100], bytes(5000)])
    if how == 4:
        return content[:at] + bytes(len(content) - at)
    if how == 5:
        return chance.choice([b"", b"\0", b"{", b"[]", b"null", b"\xff\xfe", *SPECIAL_TEXTS]) + content[at:]
    return (
        content[:at] + chance.choice([b"\xff", b"[" * 5000, b"9" * 5000, b"\\ud800", b"\x1b[2J", b"\n"]) + content[at:]
    )


def _put_something_else(path: Path, chance: random.Random) -> None:
    how = chance.randrange(11)
    other = chance.choice(sorted(p for p in path.parent.iterdir() if not p.is_dir()))
    if how == 0:
        path.chmod(0) if path.stat().st_nlink == 1 else path.unlink()
        return
    path.unlink()
    if how == 1:
        done = path.parent.parent / "done.gguf"  # which may have become something else before
        os.link(done, path, follow_symlinks=False) if done.is_file() else path.touch()
    elif how == 2:
        path.mkdir()
    elif how == 3:
        os.mkfifo(path)
    elif how == 4:
        path.symlink_to("nowhere")
    elif how == 5:
        path.symlink_to(path.name)
    elif how == 6:
        path.symlink_to(chance.choice(["/dev/zero", "/dev/null", "/etc/passwd", "/proc/self/mem", "..", "."]))
    elif how == 7 and other != path:
        os.link(other, path, follow_symlinks=False)
    elif how == 8:
        with path.open("wb") as file:  # a hole
            file.truncate(chance.choice([2**20, 2**31, 2**33, 2**40]))
    elif how == 9:
        path.touch()
    # else it is gone
