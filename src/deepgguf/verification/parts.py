"""A split set that several tasks made: whether every file is there with its manifest, and all are of one conversion."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from deepgguf.errors import UsageError, VerificationError
from deepgguf.formats.gguf.split_set import names_of_set
from deepgguf.formats.manifest import manifest_path
from deepgguf.verification.stored_hashes import StoredHashes, read_stored_hashes


def check_set(path: Path) -> None:
    """VerificationError unless the set that a file called `path` belongs to is whole; that file may be missing too.

    No file is opened, only manifests. UsageError if no file of a set has such a name.
    """
    names = names_of_set(path.name)
    if not names:
        raise UsageError(path, "is not called NAME-00001-of-00009.gguf, as files of a set are", "give any file of one")
    files = [path.with_name(name) for name in names]
    _refuse_missing(files)
    stored = [read_stored_hashes(manifest_path(file)) for file in files]
    unmarked = [number for number, hashes in enumerate(stored, 1) if hashes is None]
    if unmarked:
        found = f"files {_ranges(unmarked)} of {len(files)} have no manifest, which tells that a file is complete"
        raise VerificationError(path, found, f"make each again with `overwrite=True` and {_share(files)}")
    _refuse_mixed(files, [hashes for hashes in stored if hashes])


def _refuse_missing(files: Sequence[Path]) -> None:
    missing = [number for number, file in enumerate(files, 1) if not file.exists()]
    begun = [number for number in missing if files[number - 1].with_name(f"{files[number - 1].name}.part").exists()]
    if missing:
        found = f"files {_ranges(missing)} of {len(files)} are missing" + (f"; {_ranges(begun)} begun" if begun else "")
        raise VerificationError(files[0], found, f"make each by the command that made the others, with {_share(files)}")


def _share(files: Sequence[Path]) -> str:
    return f'`part="K/{len(files)}"`'


def _ranges(numbers: Sequence[int]) -> str:
    """As Slurm's --array takes them: 3,7-9."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _refuse_mixed(files: Sequence[Path], stored: Sequence[StoredHashes]) -> None:
    """VerificationError for a file that another version made, or from another version of the source."""
    for what, first in _made_by(stored[0]):
        for file, hashes in zip(files, stored, strict=True):
            found = dict(_made_by(hashes)).get(what, first)
            if found != first:
                text = f"{what} was {found} when this was made, and {first} for {files[0].name}, by their manifests"
                raise VerificationError(file, text, "make one of them again with `overwrite=True`")


def _made_by(stored: StoredHashes) -> Iterator[tuple[str, str]]:
    """What must be alike. A local file's version is the time of its change, of which a copy may have another."""
    yield "deepgguf", stored.version
    for source in stored.sources:
        if not source.version.isdigit():
            yield source.name, source.version
