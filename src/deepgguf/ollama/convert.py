"""A plan carried out into Ollama: the files are converted where they are wanted, hashed as they become whole, and given
over.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from deepgguf.errors import OutputError, UsageError
from deepgguf.executors.executor import Executor, Progress
from deepgguf.formats.gguf.split_set import SPLIT_COUNT
from deepgguf.formats.gguf.types import GGUFHeader
from deepgguf.formats.manifest import Manifest, manifest_path, read_manifest
from deepgguf.ollama.copying import sha256_of
from deepgguf.ollama.layers import StoredFile, stays_as_sent
from deepgguf.ollama.request import OllamaReport, Request, Say, Source
from deepgguf.ollama.ways import ApiWay, StoreWay, check_before
from deepgguf.planning.identity import file_identity
from deepgguf.planning.schema import Plan, PlannedFile
from deepgguf.run.address import Place
from deepgguf.run.disk import Disk
from deepgguf.run.execute import execute
from deepgguf.run.paths import Paths
from deepgguf.run.result import FileReport, Report
from deepgguf.run.settings import Settings
from deepgguf.version import __version__

_WHOLE = "Ollama takes whole models, each in one file, with an mmproj beside it"


def refuse_incomplete(plan: Plan) -> None:
    """UsageError if the plan's files are not a model that Ollama could run."""
    kinds = [file.kind for file in plan.files]
    if kinds.count("text") != 1 or set(kinds) - {"text", "mmproj"} or plan.mtp == "only":
        found = f"the plan has {len(kinds)} files ({', '.join(sorted(set(kinds)))})"
        raise UsageError("`ollama`", f"{found}, and {_WHOLE}", "leave out what splits it or takes only a part")
    if SPLIT_COUNT in plan.files[0].keys:
        raise UsageError("`split_max_size`", f"contradicts `ollama`: {_WHOLE}", "leave it out")


def _on_disk(place: Place) -> Path:
    """A path of a conversion into Ollama, which no object store takes part in."""
    if isinstance(place, Path):
        return place
    raise UsageError("`output`", f"{place} is not a folder of this machine, which `ollama` needs", "name a folder")


class Conversion(msgspec.Struct, frozen=True):
    """How a plan is carried out into Ollama; `disk` is where it writes."""

    plan: Plan
    request: Request
    settings: Settings
    executor: Executor
    disk: Disk

    def into_store(self, way: StoreWay, progress: Progress, say: Say) -> OllamaReport:
        """Converts on the store's file system; what is written is the blob."""
        name = self.request.name
        staging = way.store.staging(name)
        way.store.make_folder(staging)
        settings = msgspec.structs.replace(self.settings, folder=staging, sha256=True, manifest=True, overwrite=False)
        conversion = self._converted(way, settings, progress)
        pairs = self._pairs(conversion)
        files = [(_on_disk(report.path), StoredFile(f.name, _planned_header(f), report.sha256)) for f, report in pairs]
        way.publish(self.request, files)
        for path, _ in files:
            self.disk.remove(manifest_path(path))
        way.finish(name, say)
        blobs = tuple(msgspec.structs.replace(r, path=way.store.blob(r.sha256)) for r in conversion.files)
        return self._report(way, msgspec.structs.replace(conversion, files=blobs))

    def to_server(self, way: ApiWay, progress: Progress, say: Say) -> OllamaReport:
        """Converts into the settings' folder, and sends the files from there."""
        settings = msgspec.structs.replace(self.settings, sha256=True)
        conversion = self._converted(None, settings, progress)
        files = [Source(_on_disk(report.path), report.path.name, report.sha256) for report in conversion.files]
        way.publish(self.request, files, progress, say)
        return self._report(way, conversion)

    def made_before(self, way: StoreWay) -> bool:
        """Whether the run that is resumed had made the model already, by the manifests that it left of its files.

        If it was at removing them, what it left of them is removed, and the model is another's as any.
        """
        if self.settings.left_part != "resume":
            return False
        paths = [Paths(way.store.staging(self.request.name) / file.name) for file in self.plan.files]
        found = [self._own_manifest(file, each) for file, each in zip(self.plan.files, paths, strict=True)]
        digests = [manifest.sha256 for manifest in found if manifest]
        if not digests or not way.holds(self.request.name, digests):
            return False
        if len(digests) < len(paths):
            for each in paths:
                self.disk.remove(each.manifest)
        return len(digests) == len(paths)

    def rewritten(self) -> bool:
        """Whether the server would write the model once more."""
        return not any(stays_as_sent(_planned_header(file)) for file in self.plan.files)

    def _converted(self, way: StoreWay | None, settings: Settings, progress: Progress) -> Report:
        """The report of a run into the settings' folder, or of the one before that had come to its end."""
        whole = self._whole(way, settings, progress)
        if whole is None:
            if way is not None:
                way.store.check_room(self.plan.size, _on_disk(settings.folder))
            return execute(self.plan, settings, self.executor, disk=self.disk, progress=progress)
        return Report(whole, 0.0, 0, self.plan.size)

    def _pairs(self, report: Report) -> list[tuple[PlannedFile, FileReport]]:
        return list(zip(self.plan.files, report.files, strict=True))

    def _report(self, way: StoreWay | ApiWay, conversion: Report) -> OllamaReport:
        digests = {file.name: report.sha256 for file, report in self._pairs(conversion)}
        return OllamaReport(str(self.request.name), way.way, way.where, digests, conversion)

    def _whole(self, way: StoreWay | None, settings: Settings, progress: Progress) -> tuple[FileReport, ...] | None:
        """The files, if an interrupted run had finished all of them; `settings` say whether that counts.

        Each has its manifest, which tells that it is of this plan, these sources and this version; it is read once
        more, unless it is a blob already. Else None, and what is there is the run's to resume, or is discarded.
        """
        paths = [Paths(_on_disk(settings.folder) / file.name) for file in self.plan.files]
        if any(os.path.lexists(path) for each in paths for path in each.left):
            return None
        manifests = [self._own_manifest(file, each) for file, each in zip(self.plan.files, paths, strict=True)]
        places = [_place(way, each.final, manifest) for each, manifest in zip(paths, manifests, strict=True)]
        if settings.left_part != "resume" or not all(places):
            if way is not None:
                self._discard_staged(paths, settings)
            return None
        found = []
        for each, manifest, place in zip(paths, manifests, places, strict=True):
            assert manifest and place
            if place != each.final:
                progress(manifest.size)
            elif sha256_of(place, progress) != manifest.sha256:
                raise OutputError(place, "is not what its manifest says", "discard it with `restart=True`")
            found.append(FileReport(each.final, manifest.size, (), manifest.sha256))
        return tuple(found)

    def _own_manifest(self, file: PlannedFile, paths: Paths) -> Manifest | None:
        manifest = read_manifest(paths.manifest)
        if manifest is None or not manifest.sha256 or manifest.version != __version__:
            return None
        same = manifest.plan == file_identity(self.plan, file) and manifest.sources == self.plan.sources
        return manifest if same else None

    def _discard_staged(self, paths: Sequence[Paths], settings: Settings) -> None:
        """What an interrupted run left whole in the store, but not as a blob, is no output that may not be replaced."""
        left = [path for each in paths for path in (each.final, each.manifest) if os.path.lexists(path)]
        if left and settings.left_part is None:
            advice = "resume it with `resume=True`, or discard it with `restart=True`"
            raise OutputError(left[0], "an interrupted run left this file", advice)
        for path in left:
            self.disk.remove(path)


def _place(way: StoreWay | None, final: Path, manifest: Manifest | None) -> Path | None:
    """Where the manifest's file is: under its name, or already as a blob."""
    if manifest is None:
        return None
    blob = way.store.blob(manifest.sha256) if way else final
    return next((p for p in (final, blob) if p.is_file() and p.stat().st_size == manifest.size), None)


def _planned_header(file: PlannedFile) -> GGUFHeader:
    tensors = tuple(tensor.info for tensor in file.tensors)
    return GGUFHeader(file.name, 3, 32, file.data_offset, file.keys, tensors, file.size)


def convert_into(conversion: Conversion, way: StoreWay | ApiWay, progress: Progress, say: Say) -> OllamaReport:
    """Checks what can be known before the work, then converts and gives the files over."""
    request, plan = conversion.request, conversion.plan
    own = isinstance(way, StoreWay) and conversion.made_before(way)
    keys = [file.keys for file in sorted(plan.files, key=lambda file: file.kind, reverse=True)]  # the text first
    check_before(way, request.name, keys, overwrite=request.overwrite or own)
    if isinstance(way, StoreWay):
        return conversion.into_store(way, progress, say)
    way.check_room(plan.size, rewritten=conversion.rewritten())
    return conversion.to_server(way, progress, say)
