"""Whether GGUF files are what they should be, by themselves and beside the source that they were made of."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from deepgguf.api.settings import no_progress
from deepgguf.api.source import Source, all_processors, opened, opened_gguf, readers_of, with_readers
from deepgguf.checkpoint.checkpoint import read_checkpoint
from deepgguf.checkpoint.gguf_source import is_gguf
from deepgguf.choices import CHOICES_OF_A_FILE, Choices, RunChoices, StrPath, checked, complete, declared
from deepgguf.errors import UsageError, VerificationError
from deepgguf.executors.executor import Cluster, Executor, Progress
from deepgguf.executors.threads import Threads, available_processors
from deepgguf.files.files import Files
from deepgguf.files.find import is_address
from deepgguf.formats.gguf.split_set import read_split_set
from deepgguf.formats.gguf.types import GGUFHeader
from deepgguf.planning.parse_options import parse_given

# Imported where they are used: a conversion does not wait for what only `verify` needs.
if TYPE_CHECKING:
    from deepgguf.remaking.alike import Replanned
    from deepgguf.verification.report import Verification


@checked
def verify(
    path: StrPath,
    source: Source | None = None,
    *,
    remake: bool = False,
    executor: Executor | None = None,
    jobs: int | None = None,
    sha256: bool = False,
    progress: Progress | None = None,
    cache: StrPath | None = None,
    **choices: Unpack[Choices],
) -> "Verification":
    """Whether the GGUF file `path`, or the split set that it belongs to, is what it should be.

    Its structure, by a reader that shares nothing with the writer, and the hashes that the conversion stored in
    FILE.gguf.json; with the `source`, a checkpoint or a GGUF file, every tensor and key, its weights decoded and
    arranged without the code that converts. `remake` makes every piece anew besides and compares bytes: no bit of a
    quantized weight is missed.

    `choices` are those that the file was converted by (`deepgguf.choices.CHOICES_OF_A_FILE`), needed only where neither
    it nor its manifest tells: `imatrix` to make pieces anew, for instance.

    `sha256` adds that of the whole file. `executor`, whose workers must see the file, does the work, by default `jobs`
    threads. `progress` is called in this thread with the number of bytes that are checked since its last call.

    Raises VerificationError that names the first difference, GGUFError for a file that is not a sound GGUF,
    CheckpointError for a source that cannot be read, UsageError for choices that make no sense, OutputError for work
    that the executor left undone. `compare` returns all differences instead.
    """
    report = compare(
        path,
        source,
        remake=remake,
        executor=executor,
        jobs=jobs,
        sha256=sha256,
        progress=progress,
        cache=cache,
        **choices,
    )
    refuse_differences(report)
    return report


@checked
def compare(
    path: StrPath,
    source: Source | None = None,
    *,
    remake: bool = False,
    executor: Executor | None = None,
    jobs: int | None = None,
    sha256: bool = False,
    progress: Progress | None = None,
    cache: StrPath | None = None,
    **choices: Unpack[Choices],
) -> "Verification":
    """As `verify`, but differences are in what it returns."""
    from deepgguf.verification.run import check

    threads = Threads(complete({"jobs": jobs}, RunChoices)["jobs"] or available_processors())
    executor, progress, given = executor or threads, progress or no_progress, _given(choices)
    if source is None and (remake or given):
        name = "remake" if remake else next(iter(given))
        raise UsageError(f"`{name}`", "has no meaning without the checkpoint", "give it as the source")
    if is_address(path):
        raise UsageError(os.fspath(path), "verify reads the whole file, more than once", "download it first")
    headers = read_split_set(os.path.abspath(path) if isinstance(executor, Cluster) else path)  # noqa: PTH100
    if source is None:
        return check(headers, None, executor, sha256=sha256, progress=progress)
    with _planned_again(headers, source, cache, given) as again:
        files = again.expected.source.files
        if executor is threads and files.connections:
            executor = with_readers(threads, files, files.connections)
        if not remake or again.plan is None:
            return check(headers, again.expected, executor, sha256=sha256, progress=progress)
        from deepgguf.remaking.pieces import check_choices, with_remade

        check_choices(again.plan, headers, given)
        report = check(headers, again.expected, executor, sha256=sha256, progress=progress)
        return with_remade(report, again.plan, headers, executor, progress)


@contextmanager
def _planned_again(
    headers: Sequence[GGUFHeader], source: Source, cache: StrPath | None, given: Mapping[str, Any]
) -> "Iterator[Replanned]":
    """The plan by which the files were made of `source`, a GGUF file or a checkpoint, which stays open meanwhile."""
    if not isinstance(source, Files) and is_gguf(source):
        from deepgguf.remaking.plan_gguf import plan_gguf_again

        for name in given:
            if name in ("drop", "pre", "chat_template"):
                raise UsageError(f"`{name}`", "has no meaning for a GGUF file as the source", "leave it out")
        with opened_gguf(source, cache) as found:
            yield plan_gguf_again(headers, found, given)
        return
    from deepgguf.remaking.plan import plan_again

    with opened(source, cache) as files:
        yield plan_again(headers, read_checkpoint(files, readers_of(files) or all_processors()), given)


def _given(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The parsed form of the choices that were made."""
    for name in choices:
        if name in declared(Choices) and name not in CHOICES_OF_A_FILE:
            raise UsageError(f"`{name}`", "has no meaning for a finished file, which tells it", "leave it out")
    return parse_given(choices, complete(choices, Choices))


@checked
def check_parts(path: StrPath) -> None:
    """Whether tasks that shared a split set (`part="I/N"`) have made all of it; `path` is any of its files.

    Raises VerificationError that says which files are missing, or have no manifest, and how to make them; and if they
    are not of one version of deepgguf and of the source. UsageError if no file of a set has such a name. What is in
    the files is for `verify`.
    """
    from deepgguf.verification.parts import check_set

    if is_address(path):
        raise UsageError(os.fspath(path), "only files of this machine are looked at", "download the set first")
    check_set(Path(path))


def refuse_differences(report: "Verification") -> None:
    """VerificationError for the first difference, if there is one."""
    if report.differences:
        first, more = report.differences[0], len(report.differences) - 1
        found = str(first).removeprefix(f"{first.where}: ") + (f" (and {more} more)" if more else "")
        raise VerificationError(first.where, found, _what_next(report))


def _what_next(report: "Verification") -> str:
    """Converting again, unless the file was made of a GGUF, and so has other keys and another order than its model."""
    from deepgguf.verification.stored_hashes import read_stored_hashes

    file, source = report.files[0], report.source
    if source is None:
        return "compare with the source"
    stored = read_stored_hashes(Path(file.manifest)) if file.manifest else None
    if stored and stored.source.endswith(".gguf") and not source.source.endswith(".gguf"):
        return f"compare with {stored.source}, of which it was made by its manifest"
    return "convert again"
