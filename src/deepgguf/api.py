"""The public functions: paths and choices in, plans, reports and descriptions out."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint, read_checkpoint, read_small_files
from deepgguf.checkpoint.gguf_source import GGUFSource, is_gguf, read_gguf_source
from deepgguf.choices import (
    CHOICES_OF_A_FILE,
    CHOICES_OF_QUANTIZE,
    Choices,
    ConversionChoices,
    Layout,
    PatchChoices,
    PatchingChoices,
    QuantizationChoices,
    QuantizeChoices,
    RunChoices,
    StrPath,
    Target,
    checked,
    complete,
    declared,
    parse_size,
)
from deepgguf.errors import CheckpointError, UsageError, VerificationError
from deepgguf.executors.executor import Cluster, Executor, Progress
from deepgguf.executors.threads import Threads, available_processors
from deepgguf.files.files import Files
from deepgguf.files.find import find_file, find_files, is_address
from deepgguf.fitting.fit import fit
from deepgguf.fitting.write import is_free, recipe_path
from deepgguf.formats.gguf.describe import Description, describe
from deepgguf.formats.gguf.split_set import read_split_set, unsplit_stem
from deepgguf.formats.gguf.types import GGUFHeader
from deepgguf.ollama.request import OllamaReport, Say, Way
from deepgguf.planning.ahead import windows_ahead
from deepgguf.planning.arrange_gguf import Limits, plan_merge, plan_split
from deepgguf.planning.build import build_plan, model_of, plan_model
from deepgguf.planning.doctor import Finding, examine
from deepgguf.planning.joint import Joint, join
from deepgguf.planning.needs import memory_of_a_worker
from deepgguf.planning.options import TYPES, Options, check_options
from deepgguf.planning.parse_options import parse_given, parse_options
from deepgguf.planning.parse_patch import parse_patch
from deepgguf.planning.patch_gguf import header_in_place, plan_patch
from deepgguf.planning.quantize_gguf import plan_gguf, stem_of
from deepgguf.planning.schema import Plan as PlannedConversion
from deepgguf.planning.several import SharedArrays, first_choice, of_types, refuse_one_name, refuse_one_output_only
from deepgguf.planning.split import files_of_part, is_share
from deepgguf.planning.totals import PlanTotals, totals
from deepgguf.recipes.choice import UnfitError
from deepgguf.recipes.recipe import NEED_IMPORTANCE
from deepgguf.recipes.recipe_file import spell_recipe
from deepgguf.run.address import Place, parse_output
from deepgguf.run.execute import execute_together
from deepgguf.run.file_job import Output, Placed, without_twins
from deepgguf.run.header_in_place import replace_header, undo_header
from deepgguf.run.one_by_one import execute_one_by_one
from deepgguf.run.result import Report
from deepgguf.run.settings import Settings
from deepgguf.run.whole_text import write_whole

# Imported where they are used: a conversion does not wait for what only `verify` and `sample` need.
if TYPE_CHECKING:
    from deepgguf.ollama.modelfile import Modelfile
    from deepgguf.remaking.alike import Replanned
    from deepgguf.samples.make import SampleSummary
    from deepgguf.verification.report import Verification

Source = StrPath | Files

_AHEAD = 2  # windows that a task of a cluster reads from a network while it works on one


class Plan(PlannedConversion, frozen=True, kw_only=True):
    """A conversion, complete: files with every key and tensor, what is dropped, warnings; and `run`, which does it.

    `folder` is where the files go, a path or an address in S3. A plan can be pickled and run elsewhere, where its
    source can be read. `below` is a folder of which `run` makes what `folder` has below it. `recipe_text` is the recipe
    file of types that a budget chose, which `run` writes beside the files. `one_by_one` is for tasks that share a set
    (`part="I/N"`): each file is complete before the next is begun.
    """

    folder: Place
    below: Place | None = None
    recipe_text: str = ""
    one_by_one: bool = False

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
        if not self.one_by_one:
            return run_together((self,), executor=executor, progress=progress, **choices)[0]
        (settings,), executor = _means((self,), executor, choices)
        keep_recipe = self._recipe(settings)
        return keep_recipe(execute_one_by_one(self, settings, executor, progress=progress or _no_progress))

    @checked
    def to_ollama(
        self,
        name: str,
        *,
        way: Way | None = None,
        modelfile: StrPath | None = None,
        executor: Executor | None = None,
        progress: Progress | None = None,
        say: Say | None = None,
        **choices: Unpack[RunChoices],
    ) -> OllamaReport:
        """Makes the model `name` in Ollama, for which `ollama run NAME` is all that is left to do.

        `way`: "store" writes the files once, where the server on this machine keeps models; "api" writes them into
        `folder` and sends them to the server that OLLAMA_HOST names; None takes the first if that can be. The model's
        template and parameters follow from the checkpoint, unless `modelfile`, whose FROM does not count, has others.
        `say` is called with lines for people: the way, and what the server says. The rest is as for `run`.

        Raises UsageError if the model exists, or Ollama does not know it; OutputError if there is no Ollama.
        """
        from deepgguf.ollama.convert import Conversion, convert_into, refuse_incomplete
        from deepgguf.ollama.name import parse_name
        from deepgguf.ollama.needs import hints
        from deepgguf.ollama.request import Request
        from deepgguf.ollama.ways import choose_way
        from deepgguf.run.disk import Disk

        (settings,), executor = _means((self,), executor, choices)
        keep_recipe = self._recipe(settings)
        request = Request(parse_name(name), self.modelfile(modelfile), settings.overwrite)
        refuse_incomplete(self)
        say = say or _say_nothing
        destination = choose_way(way, os.environ, say)
        for hint in hints(self.files[0].keys):
            say(hint)
        conversion = Conversion(self, request, settings, executor, Disk())
        report = convert_into(conversion, destination, progress or _no_progress, say)
        assert report.conversion
        return msgspec.structs.replace(report, conversion=keep_recipe(report.conversion))

    def _recipe(self, settings: Settings) -> Callable[[Report], Report]:
        """What writes the recipe that a budget chose, into `folder`, and puts it into the report of the run.

        UsageError if another is there, and is not to be replaced.
        """
        if not self.recipe_text:
            return lambda report: report
        assert isinstance(self.folder, Path)
        path = recipe_path(self.folder, self.files[0].name)
        writes = is_free(path, self.recipe_text, overwrite=settings.overwrite)

        def keep(report: Report) -> Report:
            if writes:
                write_whole(path, self.recipe_text)
            return msgspec.structs.replace(report, recipe=path)

        return keep

    def modelfile(self, given: StrPath | None = None) -> "Modelfile":
        """What Ollama is to be told of the model: the file `given`, or else what the checkpoint shows that it needs."""
        from deepgguf.files.given_text import read_given_text
        from deepgguf.ollama.modelfile import parse_modelfile
        from deepgguf.ollama.needs import modelfile_for, read_said

        if given is not None:
            return parse_modelfile(read_given_text(given), os.fspath(given))
        with self.source:
            return modelfile_for(self.files[0].keys, read_said(self.source))


@checked
def plan(
    source: Source,
    output: StrPath | None = None,
    *,
    executor: Executor | None = None,
    cache: StrPath | None = None,
    **choices: Unpack[Choices],
) -> Plan:
    """What converting the checkpoint `source` would do; nothing is written.

    `source`: a folder, a model in Hugging Face's cache, an address (hf:ORGANIZATION/NAME, https://…/), or `Files`.
    `output`: a file, a folder, or None for the default name in the current folder; s3://BUCKET/PREFIX/ is a folder too.
    `executor` reads the headers of the shards. What is read of an address is kept in the folder `cache`, if there is
    one, as the Hub's cache keeps it. The choices are those of `deepgguf.Choices`:

        deepgguf.plan("DeepSeek-V3", type="q4_k_m", tensor_types={"attn_kv_b": "q8_0"}).run(jobs=4)

    Raises CheckpointError if checkpoint or importance matrix is at fault, UsageError if the choices are, OutputError
    if something cannot be read.
    """
    chosen = complete(choices, Choices)
    options = parse_options(chosen, _file_name(output))
    folder, recipe = output_folder(output), ""
    if chosen["budget"] is not None and chosen["write_recipe"] is None and not isinstance(folder, Path):
        found = "needs a place on this machine for the types that it chooses, and the files go to S3"
        raise UsageError("`budget`", found, "name a file for them: `write_recipe`")
    with _opened(source, cache) as files:
        checkpoint = read_checkpoint(files, executor or _readers(files))
        if chosen["budget"] is not None:
            fitted = fit(checkpoint, options, parse_size(chosen["budget"], "budget"), executor or _all_processors())
            options, recipe = fitted.options, spell_recipe(fitted.recipe)
        made = build_plan(checkpoint, options)
    made = _part(made, chosen["part"])
    if recipe and chosen["write_recipe"] is not None:
        if is_free(Path(chosen["write_recipe"]), recipe):
            write_whole(Path(chosen["write_recipe"]), recipe)
        recipe = ""
    one_by_one = is_share(chosen["part"])
    return Plan(**msgspec.structs.asdict(made), folder=folder, recipe_text=recipe, one_by_one=one_by_one)


@checked
def plan_several(
    source: Source,
    output: StrPath | None = None,
    *,
    types: str | Sequence[str] = (),
    targets: str | Sequence[str] = (),
    layout: Layout = "flat",
    executor: Executor | None = None,
    cache: StrPath | None = None,
    **choices: Unpack[Choices],
) -> tuple[Plan, ...]:
    """The plans of converting `source` to several types, for one target or several; the headers are read once.

    `output` is a folder. Files for several targets go into a folder of each target below it, for they have the same
    names; `layout` "folders" gives each plan one of its own, called as its file. Without `types` or `targets` there is
    one, that of `plan`. Other choices count for all plans, those of quantized files for the types that are quantized:

        plans = deepgguf.plan_several("DeepSeek-V3", "models/", types=("q8_0", "q4_k_m"), imatrix="imatrix.gguf")
        deepgguf.run_together(plans, jobs=8)

    Errors are those of `plan`; `budget`, which chooses types, is refused.
    """
    kinds, engines = _listed(types), _listed(targets) or ("ollama",)
    refuse_one_output_only(kinds, choices)
    first = first_choice("type", kinds, choices) | first_choice("target", engines, choices)
    for engine in engines:
        complete({"target": engine}, Choices)
    chosen = complete({**choices, **first}, Choices)
    base = _folder_of_several(output)
    options = parse_options(chosen)
    with _opened(source, cache) as files:
        checkpoint = read_checkpoint(files, executor or _readers(files))
        arrays = SharedArrays()
        made = [_plans(checkpoint, options, kinds, cast(Target, engine), arrays) for engine in engines]
    found = []
    for engine, plans in zip(engines, made, strict=True):
        folder = base / engine if len(engines) > 1 else base
        found += [_placed(_part(each, chosen["part"]), folder, base, layout) for each in plans]
    return tuple(found)


def _plans(
    checkpoint: Checkpoint, options: Options, types: Sequence[str], target: Target, arrays: SharedArrays
) -> list[PlannedConversion]:
    """The plans for one target; what the model is, is found out once."""
    for_target = of_types(msgspec.structs.replace(options, target=target), types)
    model = model_of(checkpoint, for_target[0])
    for each in for_target:
        check_options(each)
    plans = [arrays.shared(plan_model(model, checkpoint, each)) for each in for_target]
    refuse_one_name(plans)
    return plans


def _placed(made: PlannedConversion, folder: Place, base: Place, layout: Layout) -> Plan:
    """One of several plans with its folder."""
    if layout == "folders":
        folder = folder / unsplit_stem(made.files[0].name)
    return Plan(**msgspec.structs.asdict(made), folder=folder, below=base)


def _folder_of_several(output: StrPath | None) -> Place:
    """The folder that `output` is, whether it is there or not; UsageError for an address that is only read."""
    if _file_name(output) is not None and os.fspath(output or "").endswith(".gguf"):
        raise UsageError("`output`", f"{os.fspath(output or '')} is one file, and several are made", "name a folder")
    return output_folder(None if output is None else os.path.join(os.fspath(output), ""))  # noqa: PTH118


@checked
def run_together(
    plans: Sequence[Plan],
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    **choices: Unpack[RunChoices],
) -> tuple[Report, ...]:
    """Writes the files of several plans of one source at once; a report of each plan, in their order.

    Every byte of the source is read once and decoded once, whichever files it goes to, and what two files have alike
    (one type for two targets) is quantized once. Each file and its manifest are as if they were made alone, and get
    their names as soon as all of their plan are whole. A run that was interrupted is resumed for all of them. The plans
    may come from `plan`, each with its own choices, from `plan_several` or from `plan_quantize`. A file that is the
    same in two plans for one folder, as an mmproj is for every type, is written once.

    The arguments and errors are those of `Plan.run`; UsageError for plans of different sources, and for several into
    an object store. `Report.seconds` is when a plan's files had their names.
    """
    if not plans:
        raise UsageError("`plans`", "is empty", "give at least one")
    if any(plan.one_by_one for plan in plans):
        raise UsageError(
            "`plans`", "contains the plan of a task, which makes its files one by one", "call `run` of each"
        )
    placed = [Placed(plan, plan.folder) for plan in plans]
    settings, executor = _means(plans, executor, choices)
    keep_recipes = [plan._recipe(own) for plan, own in zip(plans, settings, strict=True)]
    outputs = [Output(*each) for each in zip(without_twins(placed), settings, strict=True)]
    reports = execute_together(outputs, executor, progress=progress or _no_progress)
    files = {file.path: file for report in reports for file in report.files}
    own = [tuple(files[plan.folder / file.name] for file in plan.files) for plan in plans]
    with_twins = (msgspec.structs.replace(report, files=each) for report, each in zip(reports, own, strict=True))
    return tuple(keep(report) for keep, report in zip(keep_recipes, with_twins, strict=True))


def _means(plans: Sequence[Plan], executor: Executor | None, choices: RunChoices) -> tuple[list[Settings], Executor]:
    """How each of the plans is carried out, and by what: a source on a network has threads that read ahead."""
    together, source = join(plans), plans[0].source
    pairs = [run_settings(plan.folder, **choices) for plan in plans]
    jobs, threads = pairs[0][0].jobs, pairs[0][1]
    if isinstance(executor, Cluster):
        jobs, executor = 1, executor.for_tasks(*_task(together, plans[0].folder))
    elif executor is None and source.connections:
        jobs, executor = threads.jobs, _with_readers(threads, source, windows_ahead(together))
    settings = [
        msgspec.structs.replace(own, jobs=jobs, below=plan.below) for plan, (own, _) in zip(plans, pairs, strict=True)
    ]
    return settings, executor or threads


def _task(plan: Joint, folder: Place) -> tuple[int, int]:
    """What a task takes of a cluster: bytes of memory, and threads that read ahead."""
    ahead = _AHEAD if plan.source.connections else 0
    memory = memory_of_a_worker(plan, 1 + ahead)
    if isinstance(folder, Path):
        return memory, ahead
    from deepgguf.run.s3.parts import memory_of_uploads

    return memory + memory_of_uploads(plan, 1 + ahead), ahead


def _listed(texts: str | Sequence[str]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


@checked
def plan_every_type(
    source: Source, *, executor: Executor | None = None, cache: StrPath | None = None, **choices: Unpack[Choices]
) -> dict[str, PlanTotals]:
    """Size and weights of every type that `source` can be converted to; those that need an importance matrix with one.
    A mixture whose type does not fit the model's rows is left out.

    What only quantized files have (`imatrix`, `tensor_types` and so on) counts for these. Errors are those of `plan`;
    `type`, `recipe`, `budget` and `part` are refused.
    """
    chosen = complete(choices, Choices)
    for name in ("type", "recipe", "budget", "part"):
        if name in choices:
            raise UsageError(f"`{name}`", "contradicts a plan of every type", "leave it out")
    options = parse_options(chosen)
    with _opened(source, cache) as files:
        checkpoint = read_checkpoint(files, executor or _readers(files))
    types = [type for type in TYPES if type not in NEED_IMPORTANCE or options.imatrix is not None]
    found = {}
    for type in types:
        with suppress(UnfitError):
            found[type] = totals(build_plan(checkpoint, options.of_type(type)))
    return found


@checked
def convert(
    source: Source,
    output: StrPath | None = None,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    cache: StrPath | None = None,
    **choices: Unpack[ConversionChoices],
) -> Report:
    """Converts the checkpoint `source` to `output`: plans it, and carries the plan out.

    The choices are those of `plan` and of `Plan.run`, as are all other arguments, the report and the errors.
    """
    what, how = _apart(choices)
    run_settings(output_folder(output), **how)  # what makes no sense is said before the work
    near = None if isinstance(executor, Cluster) else executor  # headers are read where the plan is made
    made = plan(source, output, executor=near, cache=cache, **what)
    return made.run(executor=executor, progress=progress, **how)


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
    _refuse_for_gguf(choices)
    options = parse_options(chosen, _file_name(output))
    with _gguf(source) as found:
        made = _part(plan_gguf(found, options, choices.get("target")), chosen["part"])
    folder, one_by_one = output_folder(output), is_share(chosen["part"])
    return Plan(**msgspec.structs.asdict(made), folder=folder, one_by_one=one_by_one)


@checked
def plan_quantize_several(
    source: StrPath,
    output: StrPath | None = None,
    *,
    types: str | Sequence[str],
    layout: Layout = "flat",
    **choices: Unpack[QuantizeChoices],
) -> tuple[Plan, ...]:
    """The plans of quantizing the GGUF file `source` to several types; see `plan_quantize`, and `plan_several`."""
    kinds = _listed(types)
    chosen = complete({**choices, **first_choice("type", kinds, choices)}, QuantizeChoices)
    refuse_one_output_only(kinds, choices)
    _refuse_for_gguf(choices)
    base, options = _folder_of_several(output), parse_options(chosen)
    with _gguf(source) as found:
        arrays, engine = SharedArrays(), choices.get("target")
        made = [arrays.shared(plan_gguf(found, each, engine)) for each in of_types(options, kinds)]
    return tuple(_placed(_part(each, chosen["part"]), base, base, layout) for each in made)


def _refuse_for_gguf(choices: Mapping[str, Any]) -> None:
    for name in choices:
        if name not in CHOICES_OF_QUANTIZE:
            raise UsageError(f"`{name}`", "has no meaning for a GGUF file as the source", "leave it out")


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

    files: tuple[Place, ...]
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
            _refuse_address(source)
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
    _refuse_address(path)
    undo_header(Path(path))


def _refuse_address(path: StrPath) -> None:
    """UsageError for a file that is not where a header could be replaced."""
    if is_address(path):
        raise UsageError(path, "is not on this machine, and cannot be changed in place", "give a new file as `output`")


@contextmanager
def _gguf(source: StrPath, cache: StrPath | None = None) -> Iterator[GGUFSource]:
    if _is_folder(source):
        raise UsageError(source, "a folder, not a GGUF file", "name a file; a checkpoint's folder is for `convert`")
    files, name = find_file(source, "a GGUF file")
    if cache is not None:
        files.keep_in(cache)
    with files:
        try:
            found = read_gguf_source(files, name)
        except CheckpointError as error:
            if is_address(source) and error.where == name:
                raise UsageError(source, error.found, error.advice) from None
            raise
        yield found


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
def import_to_ollama(
    files: Sequence[StrPath],
    name: str,
    *,
    way: Way | None = None,
    modelfile: StrPath | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    say: Say | None = None,
) -> OllamaReport:
    """Makes the model `name` in Ollama of GGUF files: one, a model and its mmproj, or any file of a split set.

    The arguments and errors are those of `Plan.to_ollama`; what `inspect` raises for files that are not sound. An
    interrupted import goes on where it was when it is done again.
    """
    from deepgguf.files.given_text import read_given_text
    from deepgguf.ollama.importing import import_model, read_given
    from deepgguf.ollama.modelfile import parse_modelfile
    from deepgguf.ollama.name import parse_name
    from deepgguf.ollama.needs import Said, becomes_q8_0, modelfile_for
    from deepgguf.ollama.request import Request
    from deepgguf.ollama.ways import choose_way

    parsed, model, say = parse_name(name), read_given(files), say or _say_nothing
    needs = parse_modelfile(read_given_text(modelfile), os.fspath(modelfile)) if modelfile is not None else None
    request = Request(parsed, needs or modelfile_for(model.keys, Said()), overwrite)
    destination = choose_way(way, os.environ, say)
    if destination.way == "api" and becomes_q8_0(model.keys):
        say("the server makes Q8_0 of this file, for it was FP8")
    return import_model(model, request, destination, progress or _no_progress, say)


@checked
def inspect(path: StrPath) -> Description:
    """What the GGUF file `path` (or the split set that it belongs to) says of itself.

    Of one at an address the headers alone are read.

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
    executor, progress, given = executor or threads, progress or _no_progress, _given(choices)
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
            executor = _with_readers(threads, files, files.connections)
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
        with _gguf(source, cache) as found:
            yield plan_gguf_again(headers, found, given)
        return
    from deepgguf.remaking.plan import plan_again

    with _opened(source, cache) as files:
        yield plan_again(headers, read_checkpoint(files, _readers(files) or _all_processors()), given)


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


def _opened(source: Source, cache: StrPath | None) -> Files:
    """The source's files, which keep what is read in the folder `cache` if there is one."""
    files = find_files(source)
    if cache is not None:
        files.keep_in(cache)
    return files


def _readers(files: Files) -> Executor | None:
    """Threads that read headers where several requests at once are worth it."""
    return Threads(files.connections, files.abandon) if files.connections else None


def _with_readers(threads: Threads, files: Files, readers: int) -> Threads:
    """The threads, and as many `readers` that wait for what comes next meanwhile."""
    return Threads(threads.jobs + readers, files.abandon)


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

    `kind`: "v3", "v3-fp8", "v3-tied", "v2-lite", "deepseek-moe", "ocr", "v32", "v32-bf16", "v4", "v4-dspark",
    "v4-base", "v4-bf16", "v4-hf" (as transformers saves it), "v4-vision", "ocr2", "unlimited-ocr" (both also with
    "-resaved" and "-hf", as transformers saves them), "kimi-k2", "kimi-k2-thinking", "kimi-k25" or "moonlight". `size`:
    "sample", "bench" (a few GB) or "full" (the released model's shapes; for V4 "flash", which is the same, or "pro").
    `scatter` puts scales in different shards from their weights; `sparse` leaves holes for data, which is enough for
    `plan`. `tokenizer` is a folder whose tokenizer the sample takes.

    Raises UsageError if the choices make no sense or the folder is not empty, OutputError if writing fails.
    """
    from deepgguf.samples.make import Form, make_sample

    chosen = Path(tokenizer) if tokenizer is not None else None
    return make_sample(kind, Path(folder), Form(size, shards, scatter, sparse), chosen)


def output_folder(output: StrPath | None) -> Place:
    """Where the files go: `output` if it is a folder, else the folder it names a file in.

    UsageError for an address of which deepgguf reads only.
    """
    if output is None:
        return Path()
    address = parse_output(os.fspath(output))
    if address is not None:
        return address if _is_folder(output) or not address.key else address.parent
    return Path(output) if _is_folder(output) else Path(output).parent


def _is_folder(output: StrPath) -> bool:
    return os.fspath(output).endswith(os.sep) or os.path.isdir(output)  # noqa: PTH112 - whatever the name, no OSError


def _file_name(output: StrPath | None) -> str | None:
    if output is None or _is_folder(output):
        return None
    address = parse_output(os.fspath(output))
    name = Path(output).name if address is None else address.name
    if not name:
        return None
    return name if name.endswith(".gguf") else f"{name}.gguf"


def run_settings(folder: Place, **choices: Unpack[RunChoices]) -> tuple[Settings, Threads]:
    """The complete choices of a run into `folder`, and its threads; UsageError if they make no sense."""
    chosen = complete(choices, RunChoices)
    resume, restart, jobs = chosen.pop("resume"), chosen.pop("restart"), chosen.pop("jobs")
    if resume and restart:
        raise UsageError("`resume`", "contradicts `restart`", "give one of them")
    left_part: Literal["resume", "restart"] | None = "resume" if resume else "restart" if restart else None
    return Settings(folder=folder, left_part=left_part, **chosen), Threads(jobs or available_processors())


def _part(made: PlannedConversion, part: int | str | None) -> PlannedConversion:
    return made if part is None else msgspec.structs.replace(made, files=files_of_part(made.files, part))


def _all_processors() -> Threads:
    return Threads(available_processors())


def _say_nothing(line: str) -> None:
    """The default: tells nobody."""


def _no_progress(nbytes: int) -> None:
    """The default: tells nobody."""
