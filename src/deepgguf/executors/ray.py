"""Tasks over a Ray cluster, in batches; Ray itself is imported when the first of them is wanted.

Ray takes some milliseconds to send a task, so a batch is what takes half a second. Ray repeats nothing: a batch that
was lost with its worker or its node is sent again from here, where it is counted.
"""

import logging
import os
import pickle
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import Any, Generic

import msgspec

from deepgguf.choices import check_number
from deepgguf.errors import OutputError, UsageError
from deepgguf.executors.executor import Cluster, Result, Task
from deepgguf.executors.ray_nodes import Done, Node, carried_out, looked, nodes
from deepgguf.version import __version__

_BATCH_SECONDS = 0.5
_BATCH_BYTES = 64 << 20  # of results, which come back at once
_MOST = 256  # tasks of a batch
_ALL_BYTES = 4 << 30  # of results that are under way
_QUEUED = 2  # batches for every processor: one is at work, one waits there
_TRIES = 5  # of a batch, before it is taken for the reason
_OWN = 160 << 20  # bytes of a worker besides the plan's: Ray's, and results on their way
_LOOK_SECONDS = 5  # how often to look who is there, while nothing comes
_ALONE_SECONDS = 120  # without any node, before it is given up: one that scales by itself needs some
_ANSWER_SECONDS = 120  # for a node to say what it sees
_PATIENT_SECONDS = 3  # for batches under way to end by themselves, when no more are wanted
_END_SECONDS = 60  # for workers to end the piece that they are at
_CONNECT_SECONDS = 10  # for a cluster's machine to take a connection, and then to answer
# How HTTP/2 begins, which Ray speaks (RFC 9113, section 3.4): a line of text, then a frame of settings, here of none.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
_FRAME_HEAD, _KIND_OF_FRAME, _SETTINGS = 9, 3, 4  # bytes, byte, value
_joining = threading.Lock()  # a process is in one cluster, whichever of its threads joins it
_HOST_AND_PORT = re.compile(r"\[?([^/\[\]]+)\]?:([0-9]{1,5})")


class Ray(Cluster):
    """One processor and the memory that the plan predicts for every task, on all nodes of a Ray cluster.

    `address` is as in `ray.init`: None is the cluster that RAY_ADDRESS names, or that runs on this machine, or else a
    new one of this machine alone. A process that has called `ray.init` already stays where it is. `jobs` tasks are
    carried out at once, by default as many as there are processors.

    UsageError for fewer than one job, and without Ray, which `pip install 'deepgguf[ray]'` installs; OutputError if
    there is no cluster. A task that has met the end of its worker five times is an OutputError too.
    """

    def __init__(self, address: str | None = None, jobs: int | None = None) -> None:
        if jobs is not None:
            check_number("jobs", jobs)
        self._address, self._most = address, jobs
        self._memory = self._ahead = 0
        self._joined = False
        self._again: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._processors = (0, 0.0)  # and until when that is good enough

    def __reduce__(self) -> tuple[type["Ray"], tuple[str | None, int | None]]:
        """Sent elsewhere, it connects there."""
        return Ray, (self._address, self._most)

    def for_tasks(self, memory: int, ahead: int) -> "Ray":
        """See `Cluster.for_tasks`; connects, before anything is written."""
        self._connected()
        other = Ray(self._address, self._most)
        other._memory, other._ahead = _OWN + memory, ahead
        return other

    def close(self) -> None:
        """Leaves the cluster, if this process was not in one before."""
        if self._joined:
            self._connected().shutdown()
            self._joined = False

    @property
    def jobs(self) -> int:
        """As many as were asked for, or all processors that the cluster has now."""
        return self._most or max(1, sum(node.processors for node in nodes(self._connected()).values()))

    @property
    def again(self) -> Mapping[str, int]:
        """See `Cluster.again`."""
        return dict(self._again)

    @property
    def done(self) -> Mapping[str, int]:
        """See `Cluster.done`."""
        return dict(self._done)

    def everywhere(self, look: Callable[[], Result]) -> Mapping[str, Result]:
        """See `Cluster.everywhere`."""
        ray = self._connected()
        there = self._fitting(ray)
        if not there:
            raise self._no_node()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        task, sent = _remote(looked), pickle.dumps(look)
        how = {"num_cpus": 0, "max_retries": 0, "name": "deepgguf looks around"}
        asked = {
            node.name: task.options(**how, scheduling_strategy=On(id, soft=False)).remote(sent)
            for id, node in there.items()
        }
        try:
            ray.wait([*asked.values()], num_returns=len(asked), timeout=_ANSWER_SECONDS)
        except SystemError as error:
            raise _of_a_signal(error) from None
        answers = {name: _answer(ray, name, ref) for name, ref in asked.items()}
        return {name: answer[0] for name, answer in answers.items() if answer}

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        """See `Executor.map`; an OutputError of a worker says on which node."""
        ray = self._connected()
        sender = _Sender(ray, work, self._ahead, {"num_cpus": 1, "memory": self._memory, "max_retries": 0})
        left, size, under_way = iter(tasks), _Size(), dict[Any, _Batch[Task]]()
        try:
            while True:
                for _ in range(min(self._room(), size.most_batches) - len(under_way)):
                    batch = _Batch(list(islice(left, size.tasks)))
                    if not batch.tasks:
                        break
                    under_way[sender.send(batch)] = batch
                if not under_way:
                    return
                for ref in self._ready(ray, [*under_way]):
                    batch = under_way.pop(ref)
                    done = self._result(ray, ref, batch)
                    if done is None:
                        under_way[sender.send(batch)] = batch
                        continue
                    size.learn(len(batch.tasks), done)
                    results: list[Result] = pickle.loads(done.results)
                    self._done[done.node] += len(results)
                    yield from results
                    if done.error is not None:
                        raise _named(pickle.loads(done.error), done.node)
        except SystemError as error:
            raise _of_a_signal(error) from None
        finally:
            _end(ray, [*under_way])

    def _room(self) -> int:
        """How many batches to have under way; nodes may come and go."""
        processors, until = self._processors
        if time.monotonic() > until:
            processors = self.jobs
            self._processors = processors, time.monotonic() + _LOOK_SECONDS
        return self._most or _QUEUED * processors

    def _ready(self, ray: Any, refs: list[Any]) -> list[Any]:
        """The batches that are done, at least one. OutputError if nobody is there any more to do them."""
        alone_since = time.monotonic()
        while True:
            done, _ = ray.wait(refs, num_returns=1, timeout=_LOOK_SECONDS)
            if done:
                ready: list[Any] = ray.wait(refs, num_returns=len(refs), timeout=0)[0]
                return ready
            if self._fitting(ray):
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > _ALONE_SECONDS:
                raise self._no_node()

    def _result(self, ray: Any, ref: Any, batch: "_Batch[Task]") -> "Done | None":
        """What came of a batch; None if it was lost and is to be sent again. OutputError if it was lost too often."""
        try:
            done: Done = ray.get(ref)
            return done
        except ray.exceptions.RayError as error:
            cause = _LOST.get(type(error).__name__)
            if cause is None:
                advice = "look at its logs, then run again with `resume=True`"
                raise OutputError("Ray", _first_line(error), advice) from None
            batch.tries += 1
            if batch.tries == _TRIES:
                found = f"a task has met this {_TRIES} times: {cause} ({_first_line(error)})"
                advice = "look at the nodes' memory and logs, then run again with `resume=True`"
                raise OutputError("Ray", found, advice) from None
            self._again[cause] += 1
            return None

    def _connected(self) -> Any:
        """The package, connected to the cluster."""
        try:
            import ray
        except ImportError:
            raise UsageError(
                "`executor`", "needs Ray, which is not installed", "`pip install 'deepgguf[ray]'`"
            ) from None
        with _joining:
            if not ray.is_initialized():
                self._join(ray)
        return ray

    def _join(self, ray: Any) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that starts here reports to nobody
        try:
            _must_answer(self._address or os.environ.get("RAY_ADDRESS", ""))
            with _own_signals():
                ray.init(address=self._address, logging_level=logging.ERROR, log_to_driver=False)
        except (OSError, RuntimeError, ValueError, AssertionError) as error:
            where = f"ray:{self._address}" if self._address else "ray"
            advice = "look at `ray status`, start one with `ray start --head`, or give its HOST:PORT"
            raise OutputError(where, f"no cluster answers: {_first_line(error)}", advice) from None
        self._joined = True

    def _fitting(self, ray: Any) -> "dict[str, Node]":
        """The nodes that can carry out a task at all."""
        return {id: node for id, node in nodes(ray).items() if node.processors and node.memory >= self._memory}

    def _no_node(self) -> OutputError:
        memory = f" and {self._memory:,} bytes of memory" if self._memory else ""
        found = f"no node has a processor{memory} for a task"
        return OutputError("Ray", found, "look at `ray status`, then run again with `resume=True`")


# What has ended when Ray says so, in the words of the summary; everything else it raises is an error.
_LOST = {
    "NodeDiedError": "a node left",
    "LocalRayletDiedError": "a node left",
    "WorkerCrashedError": "a worker died",
    "OutOfMemoryError": "a node ran out of memory",
    **dict.fromkeys(
        ("ObjectLostError", "ObjectFetchTimedOutError", "OwnerDiedError", "ObjectReconstructionFailedError"),
        "a node left with results",
    ),
}


class _Batch(msgspec.Struct, Generic[Task]):
    """Tasks that are sent together, and how often they were lost."""

    tasks: list[Task]
    tries: int = 0


class _Size:
    """How many tasks go into a batch: it grows until one takes long enough."""

    def __init__(self) -> None:
        self.tasks = 1
        self.most_batches = _ALL_BYTES

    def learn(self, tasks: int, done: Done) -> None:
        """From a batch of so many."""
        by_time = tasks * _BATCH_SECONDS / max(done.seconds, 1e-9)
        by_size = tasks * _BATCH_BYTES / len(done.results)
        self.tasks = max(1, int(min(by_time, by_size, 4 * tasks, _MOST)))
        self.most_batches = max(1, _ALL_BYTES // len(done.results))


class _Sender(Generic[Task]):
    """Sends batches; what they have in common is sent once to every node."""

    def __init__(self, ray: Any, work: Callable[[Task], Iterable[Any]], ahead: int, how: Mapping[str, object]) -> None:
        self._task, self._how, self._ahead = _remote(carried_out), how, ahead
        self._work = ray.put(pickle.dumps(work))

    def send(self, batch: _Batch[Task]) -> Any:
        """The reference to what will come of it."""
        name = f"deepgguf {getattr(batch.tasks[0], 'label', '')}".rstrip()
        # In a list, the work is not fetched before a worker finds that it does not have it.
        return self._task.options(**self._how, name=name).remote([self._work], pickle.dumps(batch.tasks), self._ahead)


@cache
def _remote(function: Callable[..., Any]) -> Any:
    """The function as Ray calls it, made once: each is another kind of task to its scheduler."""
    import ray

    return ray.remote(function)


def _answer(ray: Any, name: str, ref: Any) -> tuple[Any] | None:
    """What the node of that name has said; None if it left meanwhile."""
    where, advice = f"node {name}", f"install deepgguf {__version__} on every node, with the same Python"
    try:
        version, seen = ray.get(ref, timeout=0)
    except ray.exceptions.GetTimeoutError:
        found = f"has not answered within {_ANSWER_SECONDS} s"
        raise OutputError(where, found, "look at `ray status`, then try again") from None
    except ray.exceptions.RayError as error:
        if type(error).__name__ in _LOST:
            return None
        raise OutputError(where, f"cannot run deepgguf: {_last_line(error)}", advice) from None
    if version != __version__:
        raise OutputError(where, f"has deepgguf {version}, and this machine {__version__}", advice)
    return (seen,)


def _named(error: BaseException, node: str) -> BaseException:
    """The error; where a machine is at fault rather than the data, with the machine's name."""
    if isinstance(error, OutputError):
        return type(error)(error.where, f"{error.found} (on node {node})", error.advice)
    return error


def _of_a_signal(error: SystemError) -> BaseException:
    """What the handler of a signal raised, if Ray returned and left it behind: Python makes a SystemError of that."""
    return error.__cause__ or error


def _end(ray: Any, refs: list[Any]) -> None:
    """Waits for what is under way, and stops what takes longer.

    Not at once: where a task is done just as it is cancelled, Ray 2.60 ends this process (task_manager.cc: "Tried to
    complete task that was not pending"). It did so in one of ten interrupts.
    """
    left = ray.wait(refs, num_returns=len(refs), timeout=_PATIENT_SECONDS)[1] if refs else []
    for ref in left:
        ray.cancel(ref)
    if left:
        ray.wait(left, num_returns=len(left), timeout=_END_SECONDS)


def _must_answer(address: str) -> None:
    """OSError where nobody listens at HOST:PORT, or what is not Ray.

    Ray tries for twelve minutes (`_init_gcs_client` in its node.py).
    """
    if there := _HOST_AND_PORT.fullmatch(address):
        try:
            with socket.create_connection((there[1], int(there[2])), _CONNECT_SECONDS) as connection:
                greeted = _uses_tls() or _greets(connection)
        except OSError as error:
            raise OSError(error.strerror or "nothing comes back") from None
        if not greeted:
            raise OSError("what listens there is not Ray")


def _greets(connection: socket.socket) -> bool:
    """Whether HTTP/2 is spoken there: the first that comes is a frame of settings."""
    connection.sendall(_GREETING)
    with connection.makefile("rb") as answer:
        head = answer.read(_FRAME_HEAD)
    return len(head) == _FRAME_HEAD and head[_KIND_OF_FRAME] == _SETTINGS


def _uses_tls() -> bool:
    """Whether Ray encrypts all that is said, as its tls_utils.py has it; then only Ray itself knows how to greet."""
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it connects; whoever had it gets it back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:  # what Ray makes of the signal
        signal.signal(signal.SIGTERM, before)
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _last_line(error: BaseException) -> str:
    return next(reversed(str(error).strip().splitlines()), type(error).__name__)
