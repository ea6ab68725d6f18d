"""A plan with the folder that it goes to, and what carries it out: alone, together with others, into Ollama."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import msgspec

from deepgguf.api.ollama import read_modelfile, say_nothing
from deepgguf.api.settings import no_progress, run_settings
from deepgguf.api.source import with_readers
from deepgguf.choices import Layout, RunChoices, StrPath, checked
from deepgguf.errors import UsageError
from deepgguf.executors.executor import Cluster, Executor, Progress
from deepgguf.fitting.write import is_free, recipe_path
from deepgguf.formats.gguf.split_set import unsplit_stem
from deepgguf.ollama.request import OllamaReport, Request, Say, Way
from deepgguf.planning.ahead import windows_ahead
from deepgguf.planning.joint import Joint, join
from deepgguf.planning.needs import memory_of_a_worker
from deepgguf.planning.schema import Plan as PlannedConversion
from deepgguf.planning.split import files_of_part, is_share
from deepgguf.run.address import Place
from deepgguf.run.execute import execute_together
from deepgguf.run.file_job import Output, Placed, without_twins
from deepgguf.run.one_by_one import execute_one_by_one
from deepgguf.run.result import Report
from deepgguf.run.settings import Settings
from deepgguf.run.whole_text import write_whole

# Imported where they are used: a conversion does not wait for what only Ollama needs.
if TYPE_CHECKING:
    from deepgguf.ollama.modelfile import Modelfile

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
        return keep_recipe(execute_one_by_one(self, settings, executor, progress=progress or no_progress))

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
        from deepgguf.ollama.ways import choose_way
        from deepgguf.run.disk import Disk

        (settings,), executor = _means((self,), executor, choices)
        keep_recipe = self._recipe(settings)
        request = Request(parse_name(name), self.modelfile(modelfile), settings.overwrite)
        refuse_incomplete(self)
        say = say or say_nothing
        destination = choose_way(way, os.environ, say)
        for hint in hints(self.files[0].keys):
            say(hint)
        conversion = Conversion(self, request, settings, executor, Disk())
        report = convert_into(conversion, destination, progress or no_progress, say)
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
        from deepgguf.ollama.needs import modelfile_for, read_said

        if given is not None:
            return read_modelfile(given)
        with self.source:
            return modelfile_for(self.files[0].keys, read_said(self.source))


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
    settings, executor = _means(plans, executor, choices)
    keep_recipes = [plan._recipe(own) for plan, own in zip(plans, settings, strict=True)]
    whole = without_twins([Placed(plan, plan.folder) for plan in plans])
    outputs = [Output(*each) for each in zip(whole, settings, strict=True)]
    reports = execute_together(outputs, executor, progress=progress or no_progress)
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
        jobs, executor = threads.jobs, with_readers(threads, source, windows_ahead(together))
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


def placed(made: PlannedConversion, folder: Place, part: int | str | None = None) -> Plan:
    """The conversion with the folder of its files; with `part` only those of a split set that this asks for."""
    files = made.files if part is None else files_of_part(made.files, part)
    whole = msgspec.structs.replace(made, files=files)
    return Plan(**msgspec.structs.asdict(whole), folder=folder, one_by_one=is_share(part))


def one_of_several(made: PlannedConversion, folder: Place, base: Place, part: int | str | None, layout: Layout) -> Plan:
    """The same of one of several conversions below the folder `base`, of which a `layout` may give each its own."""
    whole = placed(made, folder, part)
    if layout == "folders":
        folder = folder / unsplit_stem(whole.files[0].name)
    return msgspec.structs.replace(whole, folder=folder, below=base)
