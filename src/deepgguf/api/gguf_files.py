"""GGUF files whose weights stay: described, examined, joined, split, given other keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import msgspec

from deepgguf.api.output import file_name, output_folder
from deepgguf.api.planned import placed
from deepgguf.api.settings import apart, run_settings
from deepgguf.api.source import opened_gguf
from deepgguf.checkpoint.checkpoint import read_small_files
from deepgguf.choices import PatchChoices, PatchingChoices, RunChoices, StrPath, checked, complete, parse_size
from deepgguf.errors import UsageError
from deepgguf.executors.executor import Executor, Progress
from deepgguf.files.find import find_files, is_address
from deepgguf.formats.gguf.describe import Description, describe
from deepgguf.formats.gguf.split_set import read_split_set
from deepgguf.planning.arrange_gguf import Limits, plan_merge, plan_split
from deepgguf.planning.doctor import Finding, examine
from deepgguf.planning.parse_patch import parse_patch
from deepgguf.planning.patch_gguf import header_in_place, plan_patch
from deepgguf.planning.quantize_gguf import stem_of
from deepgguf.planning.schema import Plan as PlannedConversion
from deepgguf.run.address import Place
from deepgguf.run.header_in_place import replace_header, undo_header
from deepgguf.run.result import Report


class Patched(msgspec.Struct, frozen=True):
    """What `patch` did: its files, the keys that were set or removed, and where an old header is kept.

    `report` is that of the run which made new files; None where a header was replaced in place.
    """

    files: tuple[Place, ...]
    keys: tuple[str, ...]
    undo: Path | None = None
    report: Report | None = None


@checked
def inspect(path: StrPath) -> Description:
    """What the GGUF file `path` (or the split set that it belongs to) says of itself.

    Of one at an address the headers alone are read.

    Tensors of the types that forks of ggml have (ik_llama.cpp) are described too. Raises UsageError if there is no such
    file, OutputError if it cannot be read, GGUFError if it is not a sound GGUF.
    """
    return describe(read_split_set(path, forks=True))


@checked
def doctor(path: StrPath) -> tuple[Finding, ...]:
    """What an engine will stumble over in the GGUF file `path`, or its set, and the choices of `patch` that mend it.

    Raises GGUFError for what is no sound GGUF, UsageError if there is no such file, OutputError if it cannot be read.
    """
    with opened_gguf(path) as found:
        return examine(found)


@checked
def merge(
    source: StrPath,
    output: StrPath | None = None,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    **choices: Unpack[RunChoices],
) -> Report:
    """Joins the split set that the GGUF file `source` belongs to, with the bytes of llama-gguf-split.

    The default name is the set's without numbers, in the current folder. Raises UsageError if `source` belongs to no
    set, GGUFError if the set is not sound or not whole, and what `Plan.run` raises.
    """
    with opened_gguf(source) as found:
        made = plan_merge(found, file_name(output) or f"{stem_of(found.name, typed=True)}.gguf")
    return _carry_out(made, output, executor, progress, choices)


@checked
def split(
    source: StrPath,
    output: StrPath | None = None,
    *,
    split_max_size: int | str | None = None,
    split_max_tensors: int | None = None,
    no_tensor_first_split: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
    **choices: Unpack[RunChoices],
) -> Report:
    """Splits the GGUF file `source`, or splits a set anew, with the bytes of llama-gguf-split.

    Files hold at most `split_max_tensors` tensors, 128 without a limit, and `split_max_size` bytes of data; with
    `no_tensor_first_split` the first has keys only. `output` names them: NAME.gguf for NAME-00001-of-00002.gguf.
    Raises UsageError for a tensor that is larger than `split_max_size`, GGUFError, and what `Plan.run` raises.
    """
    size = None if split_max_size is None else parse_size(split_max_size)
    with opened_gguf(source) as found:
        name = file_name(output) or f"{stem_of(found.name, typed=True)}.gguf"
        made = plan_split(found, name, Limits(size, split_max_tensors, no_tensor_first_split))
    return _carry_out(made, output, executor, progress, choices)


@checked
def patch(
    source: StrPath,
    output: StrPath | None = None,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    **choices: Unpack[PatchingChoices],
) -> Patched:
    """Gives the GGUF file `source` other keys, without touching weights; see `deepgguf.PatchChoices`.

    Without `output` the header is replaced in place, if the new one has room there: FILE.gguf.undo keeps the old one
    for `undo_patch`, and a file that a crash leaves half patched does not load. With `output` a new file, or set, is
    written as by `Plan.run`.

    Raises UsageError if there is no room, or nothing to do; GGUFError, CheckpointError for the checkpoint's files;
    OutputError if reading or writing failed.
    """
    what, how = apart(choices)
    chosen = complete(what, PatchChoices)
    small = None
    if chosen["checkpoint"] is not None:
        with find_files(chosen["checkpoint"]) as files:
            small = read_small_files(files)
    with opened_gguf(source) as found:
        asked = parse_patch(found, chosen, small)
        keys = (*asked.set, *asked.removed)
        if output is None:
            _refuse_address(source)
            run_settings(Path(), **how)
            path = Path(source).parent / found.sources[0].name
            undo = replace_header(path, header_in_place(found, asked))
            return Patched((path,), keys, undo)
        made = plan_patch(found, asked, file_name(output) or found.name)
    report = _carry_out(made, output, executor, progress, how)
    return Patched(tuple(file.path for file in report.files), keys, report=report)


@checked
def undo_patch(path: StrPath) -> None:
    """Brings back the header that `patch` replaced in the file `path`, and removes the undo file.

    Raises UsageError if there is none, GGUFError if it is another file's, OutputError if reading or writing failed.
    """
    _refuse_address(path)
    undo_header(Path(path))


def _refuse_address(path: StrPath) -> None:
    """UsageError for a file that is not where a header could be replaced."""
    if is_address(path):
        raise UsageError(path, "is not on this machine, and cannot be changed in place", "give a new file as `output`")


def _carry_out(
    made: PlannedConversion, output: StrPath | None, executor: Executor | None, progress: Progress | None,
    choices: Mapping[str, Any],
) -> Report:  # fmt: skip
    """Runs the plan; what the source holds is not judged where it is only copied."""
    whole = placed(made, output_folder(output))
    return whole.run(executor=executor, progress=progress, **{**choices, "allow_nonfinite": True})
