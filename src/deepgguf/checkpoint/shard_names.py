"""Which of a folder's SafeTensors files are the model, by their names, where no index says so."""

import re
from collections.abc import Collection, Sequence

import msgspec

from deepgguf.errors import CheckpointError

WHOLE = "model.safetensors"
_STEM = "model"

_NUMBERED = re.compile(r"(?P<stem>.*)-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})\.safetensors")

# What is never a shard: adapters (PEFT), and the parts of DeepSeek's own inference code (inference/convert.py).
_NO_SHARD = re.compile(r"adapter_model\b.*|model\d+-mp\d+\.safetensors")
# What tools put beside a model under a name of its own: mistral-common.
_BESIDE = re.compile(rf"{_NO_SHARD.pattern}|consolidated\b.*\.safetensors")


class ModelFiles(msgspec.Struct, frozen=True):
    """The names of the shards that are the model, sorted, and of the safetensors files beside them."""

    names: tuple[str, ...]
    beside: tuple[str, ...] = ()


def model_files(present: Sequence[str]) -> ModelFiles:
    """Of the safetensors files that are there: model.safetensors, else the complete numbered set, else all of them.

    A set that is called "model" goes before others. CheckpointError if nothing tells two models apart, or of the only
    set a shard is missing.
    """
    sets = [numbered for numbered in _numbered_sets(present) if numbered.missing is None]
    usual = [numbered for numbered in sets if numbered.stem == _STEM]
    whole = [[WHOLE]] if WHOLE in present else []
    found = whole + [sorted(numbered.names.values()) for numbered in usual or ([] if whole else sets)]
    if len(found) > 1:
        both = f"there is a whole model in {found[0][0]} and in {found[1][0]}"
        raise CheckpointError(found[1][0], both, "move one of them to another folder")
    names = found[0] if found else [name for name in present if not _BESIDE.fullmatch(name)] or present
    error = numbering_error(names)
    if error:
        raise error
    return ModelFiles(tuple(names), _without(present, names))


def is_no_shard(name: str) -> bool:
    """Whether a file of this name is none of a model's in Hugging Face's layout, whatever else is there."""
    return _NO_SHARD.fullmatch(name) is not None


def _without(present: Sequence[str], names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in present if name not in names)


def numbering_error(names: Collection[str]) -> CheckpointError | None:
    """None if of shards that are numbered 1 to n all are there, and no other."""
    for numbered in _numbered_sets(names):
        count = int(numbered.count)
        if numbered.missing is not None:
            found = f"this shard is missing, {len(numbered.names)} of {count} are there"
            return CheckpointError(numbered.missing, found, "download it")
        last = numbered.first + count - 1
        stray = next((name for number, name in numbered.names.items() if not numbered.first <= number <= last), None)
        if stray is not None:
            return CheckpointError(stray, f"numbers go from 1 to {count}", "move it to another folder")
    return None


class _Numbered(msgspec.Struct, frozen=True):
    """Shards of which there are `count`, by their numbers."""

    stem: str
    count: str
    names: dict[int, str]

    @property
    def first(self) -> int:
        """1, or 0 where all that are numbered from 0 are there, as some tools write them."""
        return 0 if self.names.keys() == set(range(int(self.count))) else 1

    @property
    def missing(self) -> str | None:
        """The name of the first shard that is not there."""
        first = next((i for i in range(self.first, self.first + int(self.count)) if i not in self.names), None)
        width = max(len(name) for name in self.names.values()) - len(f"{self.stem}--of-{self.count}.safetensors")
        return None if first is None else f"{self.stem}-{first:0{width}d}-of-{self.count}.safetensors"


def _numbered_sets(names: Collection[str]) -> list[_Numbered]:
    sets: dict[tuple[str, str], _Numbered] = {}
    for name in sorted(names):
        if m := _NUMBERED.fullmatch(name):
            stem, count = m["stem"], m["count"]
            sets.setdefault((stem, count), _Numbered(stem, count, {})).names[int(m["number"])] = name
    return list(sets.values())
