"""Who writes: the workers themselves, if they see where; and whether they can read what they need, before the work."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deepgguf.executors.executor import Cluster, Executor
from deepgguf.executors.threads import Threads
from deepgguf.files.probe import Probe, refuse_unreadable
from deepgguf.planning.joint import Planned
from deepgguf.run.destination import Destination, FarWriter, OutputRun
from deepgguf.run.settings import Settings
from deepgguf.run.worker import FarWorker, Worker


class Placed(NamedTuple):
    """The worker for a run, and why those of a cluster do not write themselves; "" if they do, or there is none."""

    worker: Worker
    came_back: str = ""


def place(
    plan: Planned, destination: Destination, runs: Sequence[OutputRun], settings: Settings, executor: Executor
) -> Placed:
    """Workers write by themselves where they see the files; those of this process see whatever it writes.

    On a cluster every node is asked what it sees. OutputError that names a node which cannot read the source.
    """
    measure, at_once = settings.measure_error, settings.jobs
    if isinstance(executor, Cluster):
        far = {number: run.far_writer() for number, run in enumerate(runs) if not run.is_named}
        obstacle = _obstacle(plan, far, executor)
        if not obstacle:
            return Placed(FarWorker(plan, far, measure_error=measure, at_once=at_once))
        return Placed(Worker(plan, None, measure_error=measure, at_once=at_once), obstacle)
    shared = executor.shares_files if destination.shares_files else isinstance(executor, Threads)
    writers = {number: run.writer() for number, run in enumerate(runs)} if shared else None
    return Placed(Worker(plan, writers, measure_error=measure, at_once=at_once))


def _obstacle(plan: Planned, writers: Mapping[int, FarWriter], executor: Cluster) -> str:
    """Why not every node can write, "" if all can. OutputError if one cannot read."""
    sources = [Probe(plan.source, plan.sources)]
    importances = {matrix.file: matrix for matrix in plan.importances if matrix}
    sources += [Probe(matrix.files, (matrix.file,)) for matrix in importances.values()]
    seen = executor.everywhere(_Look(tuple(sources), tuple(writers.values())).sight)
    refuse_unreadable({node: sight.unreadable for node, sight in seen.items()})
    blind = {node: sight.obstacle for node, sight in seen.items() if sight.obstacle}
    if not blind:
        return ""
    names, why = ", ".join(sorted(blind)), next(iter(blind.values()))
    advice = "put the output on shared storage, or in S3 with the credentials on every node"
    return f"{names} cannot write there ({why}), so all workers sent their bytes here; {advice}"


class _Sight(NamedTuple):
    """Why the source cannot be read from a node, and why the output cannot be written; "" if it can."""

    unreadable: str
    obstacle: str


class _Look(NamedTuple):
    """What a node is asked."""

    sources: tuple[Probe, ...]
    writers: tuple[FarWriter, ...]

    def sight(self) -> _Sight:
        """What is seen from here."""
        unreadable = next(filter(None, (probe.unreadable() for probe in self.sources)), "")
        return _Sight(unreadable, next(filter(None, (writer.obstacle() for writer in self.writers)), ""))
