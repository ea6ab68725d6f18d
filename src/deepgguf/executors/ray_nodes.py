"""The nodes of a Ray cluster, and what runs on them: batches of tasks, by work that arrives once and stays."""

import pickle
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from deepgguf.executors.node import be_at, here
from deepgguf.executors.threads import Threads
from deepgguf.version import __version__

_works: dict[str, Callable[[Any], Iterable[Any]]] = {}
"""The work that this process is at, by its reference: with its open files and its buffers."""


class Node(NamedTuple):
    """Its name, its processors, the bytes of memory that it gives to tasks."""

    name: str
    processors: int
    memory: int


class Done(NamedTuple):
    """What a worker has done: its node, the seconds it took, the pickled results, the error that ended it early."""

    node: str
    seconds: float
    results: bytes
    error: bytes | None


def nodes(ray: Any) -> dict[str, Node]:
    """The living nodes by id: each by the name that its owner gave it, else its host's."""
    known = ray.nodes()
    often = Counter(map(_name, known))
    return {
        node["NodeID"]: Node(
            _name(node) if often[_name(node)] == 1 else f"{_name(node)}-{node['NodeID'][:6]}",
            int(node["Resources"].get("CPU", 0)),
            int(node["Resources"].get("memory", 0)),
        )
        for node in known
        if node["Alive"]
    }


def _name(node: Mapping[str, Any]) -> str:
    given: str = node.get("NodeName") or ""
    host: str = node["NodeManagerHostname"]
    return given if given not in ("", node["NodeManagerAddress"]) else host


def carried_out(work: list[Any], batch: bytes, ahead: int) -> Done:
    """Carries out a batch of tasks, in a worker; `work` holds the reference to the pickled work."""
    import ray

    [ref] = work
    if ref.hex() not in _works:
        _works.clear()
        mine = nodes(ray).get(ray.get_runtime_context().get_node_id())
        be_at(mine.name if mine else "a node that left")
        _works[ref.hex()] = pickle.loads(ray.get(ref))
    began, results, error = time.monotonic(), list[Any](), None
    try:
        results.extend(_results(_works[ref.hex()], pickle.loads(batch), ahead))
    except Exception as raised:
        _works.clear()
        error = _pickled(raised)
    return Done(here(), time.monotonic() - began, pickle.dumps(results), error)


def _results(work: Callable[[Any], Iterable[Any]], tasks: list[Any], ahead: int) -> Iterator[Any]:
    if ahead:
        yield from Threads(1 + ahead).map(work, tasks)
        return
    for task in tasks:
        yield from work(task)


def _pickled(error: Exception) -> bytes:
    try:
        return pickle.dumps(error)
    except Exception:  # whatever an exception of somebody else's holds
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


def looked(look: bytes) -> tuple[str, Any]:
    """The version here, and what is seen from here."""
    return __version__, pickle.loads(look)()
