"""The public functions: paths and choices in, plans, reports and descriptions out."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import msgspec

from deepgguf.checkpoint.checkpoint import read_checkpoint, read_small_files
from deepgguf.checkpoint.gguf_source import GGUFSource, read_gguf_source
from deepgguf.choices import (
    CHOICES_OF_A_FILE,
    CHOICES_OF_QUANTIZE,
    Choices,
    ConversionChoices,
    PatchChoices,
    PatchingChoices,
    QuantizationChoices,
    QuantizeChoices,
    RunChoices,
    StrPath,
    checked,
    complete,
    declared,
    parse_size,
)
from deepgguf.errors import UsageError, VerificationError
from deepgguf.executors.executor import Executor, Progress
from deepgguf.executors.threads import Threads, available_processors
from deepgguf.files.files import Files
from deepgguf.files.find import find_files
from deepgguf.files.local import named_file
from deepgguf.fitting.fit import fit
from deepgguf.fitting.write import is_free, recipe_path, write_recipe
from deepgguf.formats.gguf.describe import Description, describe
from deepgguf.formats.gguf.split_set import read_split_set
from deepgguf.planning.arrange_gguf import Limits, plan_merge, plan_split
from deepgguf.planning.build import build_plan
from deepgguf.planning.doctor import Finding, examine
from deepgguf.planning.options import TYPES
from deepgguf.planning.parse_options import parse_given, parse_options
from deepgguf.planning.parse_patch import parse_patch
from deepgguf.planning.patch_gguf import header_in_place, plan_patch
from deepgguf.planning.quantize_gguf import plan_gguf, stem_of
from deepgguf.planning.schema import Plan as PlannedConversion
from deepgguf.planning.totals import PlanTotals, totals
from deepgguf.recipes.recipe import NEED_IMPORTANCE
from deepgguf.recipes.recipe_file import spell_recipe
from deepgguf.run.execute import execute
from deepgguf.run.header_in_place import replace_header, undo_header
from deepgguf.run.result import Report
from deepgguf.run.settings import Settings

# Imported where they are used: a conversion does not wait for what only `verify` and `sample` need.
if TYPE_CHECKING:
    from deepgguf.samples.make import SampleSummary
    from deepgguf.verification.report import Verification

Source = StrPath | Files


class Plan(PlannedConversion, frozen=True, kw_only=True):
    """A conversion, complete: files with every key and tensor, what is dropped, warnings; and `run`, which does it.

    `folder` is where the files go. A plan can be pickled and run elsewhere, where its source can be read. `recipe_text`
    is the recipe file of types that a budget chose, which `run` writes beside the files.
    """

    folder: Path
    recipe_text: str = ""

    @checked
    def run(
        self, *, executor: Executor | None = None, progress: Progress | None = None, **choices: Unpack[RunChoices]
    ) -> Report:
        """Writes the files; the report has their paths, and digests and counts of their tensors.

        `executor` does the work, by default `jobs` threads. `progress` is called in this thread with the number of
        output bytes that are done since its last call.

        Raises CheckpointError (then nothing is left), ChangedError or OutputError (then the run can be resumed),
        UsageError.
        """
        settings, threads = run_settings(self.folder, **choices)
        recipe = recipe_path(self.folder, self.files[0].name)
        writes = bool(self.recipe_text) and is_free(recipe, self.recipe_text, overwrite=settings.overwrite)
        report = execute(self, settings, executor or threads, progress=progress or _no_progress)
        if writes:
            write_recipe(recipe, self.recipe_text)
        return msgspec.structs.replace(report, recipe=recipe) if self.recipe_text else report


@checked
def plan(
    source: Source, output: StrPath | None = None, *, executor: Executor | None = None, **choices: Unpack[Choices]
) -> Plan:
    """What converting the checkpoint `source` would do; nothing is written.

    `source`: a folder, a model in Hugging Face's cache, or `Files`. `output`: a file, a folder, or None for the default
    name in the current folder. `executor` reads the headers of the shards. The choices are those of `deepgguf.Choices`:

        deepgguf.plan("DeepSeek-V3", type="q4_k_m", tensor_types={"attn_kv_b": "q8_0"}).run(jobs=4)

    Raises CheckpointError if checkpoint or importance matrix is at fault, UsageError if the choices are, OutputError
    if something cannot be read.
    """
    chosen = complete(choices, Choices)
    options = parse_options(chosen, _file_name(output))
    recipe = ""
    with find_files(source) as files:
        checkpoint = read_checkpoint(files, executor)
        if chosen["budget"] is not None:
            fitted = fit(checkpoint, options, parse_size(chosen["budget"], "budget"), executor or _all_processors())
            options, recipe = fitted.options, spell_recipe(fitted.recipe)
        made = build_plan(checkpoint, options)
    if chosen["part"] is not None:
        made = _one_part(made, chosen["part"])
    if recipe and chosen["write_recipe"] is not None:
        if is_free(Path(chosen["write_recipe"]), recipe):
            write_recipe(Path(chosen["write_recipe"]), recipe)
        recipe = ""
    return Plan(**msgspec.structs.asdict(made), folder=output_folder(output), recipe_text=recipe)


@checked
def plan_every_type(
    source: Source, *, executor: Executor | None = None, **choices: Unpack[Choices]
) -> dict[str, PlanTotals]:
    """Size and weights of every type that `source` can be converted to; those that need an importance matrix with one.

    What only quantized files have (`imatrix`, `tensor_types` and so on) counts for these. Errors are those of `plan`;
    `type`, `recipe`, `budget` and `part` are refused.
    """
    chosen = complete(choices, Choices)
    for name in ("type", "recipe", "budget", "part"):
        if name in choices:
            raise UsageError(f"`{name}`", "contradicts a plan of every type", "leave it out")
    options = parse_options(chosen)
    with find_files(source) as files:
        checkpoint = read_checkpoint(files, executor)
    types = [type for type in TYPES if type not in NEED_IMPORTANCE or options.imatrix is not None]
    return {type: totals(build_plan(checkpoint, options.of_type(type))) for type in types}


@checked
def convert(
    source: Source,
    output: StrPath | None = None,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    **choices: Unpack[ConversionChoices],
) -> Report:
    """Converts the checkpoint `source` to `output`: plans it, and carries the plan out.

    The choices are those of `plan` and of `Plan.run`, as are `executor`, `progress`, the report and the errors.
    """
    what, how = _apart(choices)
    run_settings(output_folder(output), **how)  # what makes no sense is said before the work
    return plan(source, output, executor=executor, **what).run(executor=executor, progress=progress, **how)


@checked
def plan_quantize(source: StrPath, output: StrPath | None = None, **choices: Unpack[QuantizeChoices]) -> Plan:
    """What quantizing the GGUF file `source`, or the split set that it belongs to, would do; nothing is written.

    `output` is as for `plan`. The types are those of llama-quantize, and so are the bytes. The choices are those of
    `deepgguf.choices.CHOICES_OF_QUANTIZE`:

        deepgguf.plan_quantize("DeepSeek-V3-BF16.gguf", type="q4_k_m").run(jobs=4)

    Without `target` the file is for the engine whose layout the source has. Raises UsageError for choices that make no
    sense, for another architecture than deepgguf knows, and for weights that are quantized already unless
    `allow_requantize`; GGUFError for a source that is no sound GGUF, OutputError if something cannot be read.
    """
    chosen = complete(choices, QuantizeChoices)
    for name in choices:
        if name not in CHOICES_OF_QUANTIZE:
            raise UsageError(f"`{name}`", "has no meaning for a GGUF file as the source", "leave it out")
    options = parse_options(chosen, _file_name(output))
    with _gguf(source) as found:
        made = plan_gguf(found, options, choices.get("target"))
    return Plan(**msgspec.structs.asdict(made), folder=output_folder(output))


@checked
def quantize(
    source: StrPath,
    output: StrPath | None = None,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    **choices: Unpack[QuantizationChoices],
) -> Report:
    """Quantizes the GGUF file `source` to `output`: plans it as `plan_quantize`, and carries the plan out.

    `executor`, `progress`, the report and the errors are those of `Plan.run`.
    """
    what, how = _apart(choices)
    run_settings(output_folder(output), **how)  # what makes no sense is said before the work
    return plan_quantize(source, output, **what).run(executor=executor, progress=progress, **how)


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
    with _gguf(source) as found:
        made = plan_merge(found, _file_name(output) or f"{stem_of(found.name, typed=True)}.gguf")
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
    with _gguf(source) as found:
        name = _file_name(output) or f"{stem_of(found.name, typed=True)}.gguf"
        made = plan_split(found, name, Limits(size, split_max_tensors, no_tensor_first_split))
    return _carry_out(made, output, executor, progress, choices)


class Patched(msgspec.Struct, frozen=True):
    """What `patch` did: its files, the keys that were set or removed, and where an old header is kept."""

    files: tuple[Path, ...]
    keys: tuple[str, ...]
    undo: Path | None = None


@checked
def doctor(path: StrPath) -> tuple[Finding, ...]:
    """What an engine will stumble over in the GGUF file `path`, or its set, and the choices of `patch` that mend it.

    Raises GGUFError for what is no sound GGUF, UsageError if there is no such file, OutputError if it cannot be read.
    """
    with _gguf(path) as found:
        return examine(found)


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
    what, how = _apart(choices)
    chosen = complete(what, PatchChoices)
    small = None
    if chosen["checkpoint"] is not None:
        with find_files(chosen["checkpoint"]) as files:
            small = read_small_files(files)
    with _gguf(source) as found:
        asked = parse_patch(found, chosen, small)
        keys = (*asked.set, *asked.removed)
        if output is None:
            run_settings(Path(), **how)
            path = Path(source).parent / found.sources[0].name
            undo = replace_header(path, header_in_place(found, asked))
            return Patched((path,), keys, undo)
        made = plan_patch(found, asked, _file_name(output) or found.name)
    report = _carry_out(made, output, executor, progress, how)
    return Patched(tuple(file.path for file in report.files), keys)


@checked
def undo_patch(path: StrPath) -> None:
    """Brings back the header that `patch` replaced in the file `path`, and removes the undo file.

    Raises UsageError if there is none, GGUFError if it is another file's, OutputError if reading or writing failed.
    """
    undo_header(Path(path))


@contextmanager
def _gguf(source: StrPath) -> Iterator[GGUFSource]:
    if _is_folder(source):
        raise UsageError(source, "a folder, not a GGUF file", "name a file; a checkpoint's folder is for `convert`")
    files, name = named_file(source, "a GGUF file")
    with files:
        yield read_gguf_source(files, name)


def _carry_out(
    made: PlannedConversion, output: StrPath | None, executor: Executor | None, progress: Progress | None,
    choices: Mapping[str, Any],
) -> Report:  # fmt: skip
    """Runs the plan; what the source holds is not judged where it is only copied."""
    whole = Plan(**msgspec.structs.asdict(made), folder=output_folder(output))
    return whole.run(executor=executor, progress=progress, **{**choices, "allow_nonfinite": True})


def _apart(choices: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The choices that decide the bytes, and those of how they are made."""
    of_the_run = declared(RunChoices)
    how = {name: choice for name, choice in choices.items() if name in of_the_run}
    return {name: choice for name, choice in choices.items() if name not in of_the_run}, how


@checked
def inspect(path: StrPath) -> Description:
    """What the GGUF file `path` (or the split set that it belongs to) says of itself.

    Tensors of the types that forks of ggml have (ik_llama.cpp) are described too. Raises UsageError if there is no such
    file, OutputError if it cannot be read, GGUFError if it is not a sound GGUF.
    """
    return describe(read_split_set(path, forks=True))


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
    **choices: Unpack[Choices],
) -> "Verification":
    """Whether the GGUF file `path`, or the split set that it belongs to, is what it should be.

    Its structure, by a reader that shares nothing with the writer, and the hashes that the conversion stored in
    FILE.gguf.json; with the checkpoint `source` every tensor and key, its weights decoded and arranged without the code
    that converts. `remake` makes every piece anew besides and compares bytes: no bit of a quantized weight is missed.

    `choices` are those that the file was converted by (`deepgguf.choices.CHOICES_OF_A_FILE`), needed only where neither
    it nor its manifest tells: `imatrix` to make pieces anew, for instance.

    `sha256` adds that of the whole file. `executor`, whose workers must see the file, does the work, by default `jobs`
    threads. `progress` is called in this thread with the number of bytes that are checked since its last call.

    Raises VerificationError that names the first difference, GGUFError for a file that is not a sound GGUF,
    CheckpointError for a source that cannot be read, UsageError for choices that make no sense, OutputError for work
    that the executor left undone. `compare` returns all differences instead.
    """
    report = compare(
        path, source, remake=remake, executor=executor, jobs=jobs, sha256=sha256, progress=progress, **choices
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
    **choices: Unpack[Choices],
) -> "Verification":
    """As `verify`, but differences are in what it returns."""
    from deepgguf.remaking.plan import plan_again
    from deepgguf.verification.run import check

    threads = Threads(complete({"jobs": jobs}, RunChoices)["jobs"] or available_processors())
    executor, progress, given = executor or threads, progress or _no_progress, _given(choices)
    if source is None and (remake or given):
        name = "remake" if remake else next(iter(given))
        raise UsageError(f"`{name}`", "has no meaning without the checkpoint", "give it as the source")
    headers = read_split_set(path)
    if source is None:
        return check(headers, None, executor, sha256=sha256, progress=progress)
    with find_files(source) as files:
        again = plan_again(headers, read_checkpoint(files, executor), given)
        if not remake or again.plan is None:
            return check(headers, again.expected, executor, sha256=sha256, progress=progress)
        from deepgguf.remaking.pieces import check_choices, with_remade

        check_choices(again.plan, headers, given)
        report = check(headers, again.expected, executor, sha256=sha256, progress=progress)
        return with_remade(report, again.plan, headers, executor, progress)


def _given(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The parsed form of the choices that were made."""
    for name in choices:
        if name in declared(Choices) and name not in CHOICES_OF_A_FILE:
            raise UsageError(f"`{name}`", "has no meaning for a finished file, which tells it", "leave it out")
    return parse_given(choices, complete(choices, Choices))


def refuse_differences(report: "Verification") -> None:
    """VerificationError for the first difference, if there is one."""
    if report.differences:
        first, more = report.differences[0], len(report.differences) - 1
        found = str(first).removeprefix(f"{first.where}: ") + (f" (and {more} more)" if more else "")
        raise VerificationError(first.where, found, "convert again" if report.source else "compare with the source")


@checked
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

    `kind`: "v3", "v3-fp8", "v3-tied", "v2-lite", "ocr", "v32", "v32-bf16", "v4", "v4-dspark", "v4-base", "v4-bf16" or
    "v4-hf" (as transformers saves it); `size`: "sample", "bench" (a few GB) or "full" (the released model's shapes;
    for V4 "flash", which is the same, or "pro"). `scatter` puts scales in different shards from their weights; `sparse`
    leaves holes for data, which is enough for `plan`. `tokenizer` is a folder whose tokenizer the sample takes.

    Raises UsageError if the choices make no sense or the folder is not empty, OutputError if writing fails.
    """
    from deepgguf.samples.make import Form, make_sample

    chosen = Path(tokenizer) if tokenizer is not None else None
    return make_sample(kind, Path(folder), Form(size, shards, scatter, sparse), chosen)


def output_folder(output: StrPath | None) -> Path:
    """Where the files go: `output` if it is a folder, else the folder it names a file in."""
    if output is None:
        return Path()
    return Path(output) if _is_folder(output) else Path(output).parent


def _is_folder(output: StrPath) -> bool:
    return os.fspath(output).endswith(os.sep) or os.path.isdir(output)  # noqa: PTH112 - whatever the name, no OSError


def _file_name(output: StrPath | None) -> str | None:
    if output is None or _is_folder(output):
        return None
    name = Path(output).name
    return name if name.endswith(".gguf") else f"{name}.gguf"


def run_settings(folder: Path, **choices: Unpack[RunChoices]) -> tuple[Settings, Threads]:
    """The complete choices of a run into `folder`, and its threads; UsageError if they make no sense."""
    chosen = complete(choices, RunChoices)
    resume, restart, jobs = chosen.pop("resume"), chosen.pop("restart"), chosen.pop("jobs")
    if resume and restart:
        raise UsageError("`resume`", "contradicts `restart`", "give one of them")
    left_part: Literal["resume", "restart"] | None = "resume" if resume else "restart" if restart else None
    return Settings(folder=folder, left_part=left_part, **chosen), Threads(jobs or available_processors())


def _one_part(made: PlannedConversion, part: int) -> PlannedConversion:
    if part > len(made.files):
        raise UsageError("`part`", f"{part}, but the number of files is {len(made.files)}", "give one from 1 to that")
    return msgspec.structs.replace(made, files=(made.files[part - 1],))


def _all_processors() -> Threads:
    return Threads(available_processors())


def _no_progress(nbytes: int) -> None:
    """The default: tells nobody."""
