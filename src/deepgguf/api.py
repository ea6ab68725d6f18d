"""The public functions: paths and choices in, plans, reports and descriptions out."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from deepgguf.checkpoint.checkpoint import read_checkpoint
from deepgguf.checkpoint.importance import ImportanceMatrix, read_importance
from deepgguf.errors import UsageError, VerificationError
from deepgguf.files.find import find_files
from deepgguf.formats.gguf.describe import Description, describe
from deepgguf.formats.gguf.split_set import read_split_set
from deepgguf.planning.build import build_plan
from deepgguf.planning.options import TYPES, ImportanceFacts, Options
from deepgguf.planning.schema import Plan
from deepgguf.planning.totals import PlanTotals, totals
from deepgguf.recipes.patterns import parse_tensor_type, parse_type
from deepgguf.recipes.recipe import RECIPES
from deepgguf.run.disk import Disk
from deepgguf.run.execute import Observe, Progress, execute
from deepgguf.run.settings import Report, Settings

# Imported where they are used: a conversion does not wait for what only `verify` and `sample` need.
if TYPE_CHECKING:
    from deepgguf.samples.make import SampleSummary
    from deepgguf.verification.report import Report as Verification

StrPath = str | os.PathLike[str]


def plan(
    source: StrPath,
    output: StrPath | None = None,
    *,
    target: str = "ollama",
    type: str = "auto",
    only: str = "",
    part: int = 0,
    split_max_size: int = 0,
    split_max_tensors: int = 0,
    imatrix: StrPath | None = None,
    tensor_types: Sequence[str] = (),
    output_tensor_type: str = "",
    token_embedding_type: str = "",
) -> Plan:
    """What converting the checkpoint `source` would do: files with every key and tensor, what is dropped, warnings.

    `source`: a folder, or a model in Hugging Face's cache. `output`: a file, a folder, or None for the default name
    here. `target`: "ollama" or "llama.cpp". `type`: "auto", "f32", "f16", "bf16" or a recipe such as "q4_k_m". `only`:
    "text" or "mmproj". `part`: only that file of a split set, from 1. `split_max_size` in bytes, 0 for no limit.
    `imatrix`: an importance matrix, GGUF or the older form. `tensor_types`: "PATTERN=TYPE", as llama-quantize has it;
    `output_tensor_type` and `token_embedding_type`: the type of output.weight and of token_embd.weight.

    Raises CheckpointError if checkpoint or importance matrix is at fault, UsageError if the choices are, OutputError
    if something cannot be read.
    """
    importance = read_importance(Path(imatrix)) if imatrix is not None else None
    options = Options(
        target=target,
        type=type.lower(),
        output=_file_name(output),
        folder=str(output_folder(output)),
        only=only,
        split_max_size=split_max_size,
        split_max_tensors=split_max_tensors,
        patterns=tuple(parse_tensor_type(t) for t in tensor_types),
        output_type=parse_type(output_tensor_type) if output_tensor_type else None,
        token_embedding_type=parse_type(token_embedding_type) if token_embedding_type else None,
        importance=_facts(importance),
    )
    made = build_plan(read_checkpoint(find_files(source)), options)
    return _one_part(made, part) if part else made


def plan_every_type(
    source: StrPath, *, target: str = "ollama", imatrix: StrPath | None = None
) -> dict[str, PlanTotals]:
    """Size and weights of every type that `source` can be converted to; q2_k_s only with an importance matrix."""
    checkpoint = read_checkpoint(find_files(source))
    importance = _facts(read_importance(Path(imatrix)) if imatrix is not None else None)
    found = {}
    for type in TYPES:
        if type == "q2_k_s" and importance is None:
            continue
        options = Options(target=target, type=type, importance=importance if type in RECIPES else None)
        found[type] = totals(build_plan(checkpoint, options))
    return found


def convert(
    source: StrPath,
    output: StrPath | None = None,
    *,
    target: str = "ollama",
    type: str = "auto",
    only: str = "",
    part: int = 0,
    split_max_size: int = 0,
    split_max_tensors: int = 0,
    imatrix: StrPath | None = None,
    tensor_types: Sequence[str] = (),
    output_tensor_type: str = "",
    token_embedding_type: str = "",
    jobs: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    restart: bool = False,
    allow_nonfinite: bool = False,
    manifest: bool = True,
    sha256: bool = False,
) -> Report:
    """Converts the checkpoint `source` to `output`: a file, a folder, or None for the default name here.

    The choices are those of `plan`. `jobs` is the number of threads, by default the processors of this process.
    `resume` goes on with an interrupted run, `restart` discards it. `manifest` writes FILE.gguf.json with the tensors'
    digests; `sha256` adds that of the whole file. Returns the files, their tensors' digests and counts.

    Raises CheckpointError (then nothing is left), OutputError (then one can go on), UsageError.
    """
    made = plan(
        source, output, target=target, type=type, only=only, part=part, split_max_size=split_max_size,
        split_max_tensors=split_max_tensors, imatrix=imatrix, tensor_types=tensor_types,
        output_tensor_type=output_tensor_type, token_embedding_type=token_embedding_type,
    )  # fmt: skip
    if resume and restart:
        raise UsageError("--resume", "contradicts --restart", "give one of them")
    settings = Settings(
        folder=output_folder(output),
        jobs=jobs or available_processors(),
        overwrite=overwrite,
        resume="resume" if resume else "restart" if restart else "",
        allow_nonfinite=allow_nonfinite,
        manifest=manifest,
        sha256=sha256,
    )
    return carry_out(made, settings, imatrix=imatrix)


def carry_out(
    made: Plan, settings: Settings, *, imatrix: StrPath | None = None, disk: Disk | None = None,
    progress: Progress = lambda nbytes: None, observe: Observe | None = None,
) -> Report:  # fmt: skip
    """Executes a plan; `imatrix` is the importance matrix that it was made with.

    `disk` is where it writes, for tests to replace. `progress` and `observe`, and the errors, are those of
    `execute.run.execute`.
    """
    importance = read_importance(Path(imatrix)) if imatrix is not None else None
    return execute(
        made,
        settings,
        disk=disk,
        importance=importance.weights if importance else None,
        importance_digest=importance.digest if importance else "",
        progress=progress,
        observe=observe,
    )


def inspect(path: StrPath) -> Description:
    """What the GGUF file `path` (or the split set that it belongs to) says of itself. Raises GGUFError."""
    return describe(read_split_set(path))


def verify(
    path: StrPath, source: StrPath | None = None, *, jobs: int | None = None, sha256: bool = False
) -> "Verification":
    """Whether the GGUF file `path`, or the split set that it belongs to, is what it should be.

    Its structure, by a reader that shares nothing with the writer; without `source` the hashes that the conversion
    stored in FILE.gguf.json; with the checkpoint `source` every tensor and key, decoded and derived by code that shares
    nothing with the conversion. `sha256` adds that of the whole file.

    Raises VerificationError that names the first difference, GGUFError for a file that is no sound GGUF,
    CheckpointError for a source that cannot be read. `compare` returns all differences instead.
    """
    report = compare(path, source, jobs=jobs, sha256=sha256)
    refuse_differences(report)
    return report


def compare(
    path: StrPath, source: StrPath | None = None, *, jobs: int | None = None, sha256: bool = False,
    progress: Progress = lambda nbytes: None,
) -> "Verification":  # fmt: skip
    """As `verify`, but differences are in the report."""
    from deepgguf.verification.run import check

    folder = None if source is None else Path(source)
    return check(os.fspath(path), folder, jobs=jobs or available_processors(), sha256=sha256, progress=progress)


def refuse_differences(report: "Verification") -> None:
    """VerificationError for the first difference, if there is one."""
    if report.differences:
        first, more = report.differences[0], len(report.differences) - 1
        found = str(first).removeprefix(f"{first.where}: ") + (f" (and {more} more differences)" if more else "")
        raise VerificationError(first.where, found, "convert again" if report.source else "compare with the source")


def sample(
    kind: str,
    folder: StrPath,
    *,
    size: str = "sample",
    shards: int = 1,
    scatter: bool = False,
    sparse: bool = False,
    tokenizer: StrPath | None = None,
) -> "SampleSummary":
    """Makes a checkpoint with real structure and made-up weights in `folder`, the same bytes everywhere.

    `kind`: "v3", "v3-fp8", "v3-tied", "v2-lite" or "ocr"; `size`: "sample", "bench" (2.2e9 parameters) or "full"
    (DeepSeek-V3's shapes). `scatter` parts scales from their weights; `sparse` leaves holes instead of data.

    Raises UsageError if the choices make no sense or the folder is not empty, OutputError if writing fails.
    """
    from deepgguf.samples.make import make_sample

    chosen = Path(tokenizer) if tokenizer is not None else None
    return make_sample(kind, Path(folder), size=size, shards=shards, scatter=scatter, sparse=sparse, tokenizer=chosen)


def output_folder(output: StrPath | None) -> Path:
    """Where the files go: `output` if it is a folder, else the folder it names a file in."""
    if output is None:
        return Path()
    return Path(output) if _is_folder(output) else Path(output).parent


def available_processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_folder(output: StrPath) -> bool:
    return os.fspath(output).endswith(os.sep) or Path(output).is_dir()


def _file_name(output: StrPath | None) -> str:
    if output is None or _is_folder(output):
        return ""
    name = Path(output).name
    return name if name.endswith(".gguf") else f"{name}.gguf"


def _facts(importance: ImportanceMatrix | None) -> ImportanceFacts | None:
    if importance is None:
        return None
    return ImportanceFacts(importance.sizes, importance.keys(), importance.unused_experts, importance.digest)


def _one_part(made: Plan, part: int) -> Plan:
    if not 1 <= part <= len(made.files):
        raise UsageError("--part", f"{part} of {len(made.files)}", "give a number from 1 to the number of parts")
    return msgspec.structs.replace(made, files=(made.files[part - 1],))
