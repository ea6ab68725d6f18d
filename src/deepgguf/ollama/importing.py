"""GGUF files that are there already into Ollama: one, a model and its mmproj, or the files of a split set."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from deepgguf.choices import StrPath
from deepgguf.errors import UsageError
from deepgguf.executors.executor import Progress
from deepgguf.formats.gguf.split_set import read_split_set, unsplit_stem
from deepgguf.formats.gguf.types import GGUFHeader, Value, ValueType
from deepgguf.ollama.copying import copy_in, joined, sha256_of
from deepgguf.ollama.layers import is_projector, stays_as_sent
from deepgguf.ollama.request import OllamaReport, Request, Say, Source
from deepgguf.ollama.ways import ApiWay, StoreWay, check_before

_NONE = Value(ValueType.STRING, "")


class GivenFile(msgspec.Struct, frozen=True):
    """A model or an mmproj: the headers of its files in order, and of the one file that they are or become."""

    headers: tuple[GGUFHeader, ...]
    whole: GGUFHeader

    @property
    def name(self) -> str:
        """What that file is called: of a split set, the name without the numbers."""
        name = Path(self.headers[0].path).name
        return name if len(self.headers) == 1 else f"{unsplit_stem(name)}.gguf"

    @property
    def paths(self) -> list[Path]:
        """Where the files are."""
        return [Path(header.path) for header in self.headers]


class GivenModel(msgspec.Struct, frozen=True):
    """All files of one model."""

    files: tuple[GivenFile, ...]

    @property
    def keys(self) -> dict[str, Value]:
        """The keys of the model itself."""
        return next(file.whole.keys for file in self.files if not is_projector(file.whole))

    @property
    def size(self) -> int:
        """Bytes of all files, as they become."""
        return sum(file.whole.file_size for file in self.files)


def read_given(paths: Sequence[StrPath]) -> GivenModel:
    """The model in these files; of a split set one is enough.

    UsageError unless it is one model, with an mmproj or without; what `read_split_set` raises.
    """
    sets: dict[Path, GivenFile] = {}
    for path in paths:
        headers = read_split_set(path)
        sets.setdefault(Path(headers[0].path).resolve(), GivenFile(headers, joined(headers)))
    files = tuple(sets.values())
    projectors = [is_projector(file.whole) for file in files]
    if projectors.count(False) != 1 or projectors.count(True) > 1:
        found = f"{projectors.count(False)} models and {projectors.count(True)} mmproj files are given"
        raise UsageError(", ".join(map(str, paths)), found, "give one model, with its mmproj if it sees pictures")
    if any(file.whole.keys.get("general.type", _NONE).value == "adapter" for file in files):
        raise UsageError(", ".join(map(str, paths)), "is an adapter, not a model", "use `ollama create`")
    names = [path.name for file in files for path in file.paths]
    if len(set(names)) < len(names):
        raise UsageError(", ".join(map(str, paths)), "two of these have the same name", "rename one")
    return GivenModel(files)


def import_model(
    model: GivenModel, request: Request, way: StoreWay | ApiWay, progress: Progress, say: Say
) -> OllamaReport:
    """Checks what can be known before the work, then copies the files into the store, or sends them."""
    keys = [model.keys, *(file.whole.keys for file in model.files)]
    check_before(way, request.name, keys, overwrite=request.overwrite)
    if isinstance(way, StoreWay):
        return _into_store(model, request, way, progress, say)
    rewritten = not any(stays_as_sent(file.whole) for file in model.files)
    way.check_room(model.size, rewritten=rewritten)
    sources = [Source(path, path.name, sha256_of(path, progress)) for file in model.files for path in file.paths]
    way.publish(request, sources, progress, say)
    digests = {source.name: source.sha256 for source in sources}
    return OllamaReport(str(request.name), way.way, way.where, digests)


def _into_store(model: GivenModel, request: Request, way: StoreWay, progress: Progress, say: Say) -> OllamaReport:
    store, staging = way.store, way.store.staging(request.name)
    store.check_room(model.size, staging)
    store.make_folder(staging)
    copied = [copy_in(store.disk, file.headers, file.name, staging, progress) for file in model.files]
    way.publish(request, copied)
    way.finish(request.name, say)
    return OllamaReport(str(request.name), way.way, way.where, {file.name: file.sha256 for _, file in copied})
