"""A Ray cluster of three nodes on this machine, each of processes of its own, with one processor."""

import logging
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

import deepgguf

TESTS = Path(__file__).parent
NODES = ("node-1", "node-2", "node-3")
_MEMORY = {"object_store_memory": 80 << 20, "memory": 4 << 30}


class Nodes(NamedTuple):
    """A running cluster, and its nodes by name, without the head."""

    cluster: Any
    by_name: dict[str, Any]

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def start(self, name: str) -> None:
        self.by_name[name] = self.cluster.add_node(num_cpus=1, node_name=name, **_MEMORY)

    def kill(self, name: str) -> None:
        """All processes of the node, at once, as by a power failure."""
        raylet = self.by_name[name].all_processes["raylet"][0].process.pid
        for children in Path(f"/proc/{raylet}/task").glob("*/children"):
            for worker in children.read_text().split():
                os.kill(int(worker), signal.SIGKILL)
        self.cluster.remove_node(self.by_name.pop(name), allow_graceful=False)


@contextmanager
def ray_cluster() -> Iterator[Nodes]:
    """The cluster; what runs on it imports what the tests of executors and runs do."""
    from ray.cluster_utils import Cluster

    paths = (Path(deepgguf.__file__).parents[1], TESTS, TESTS / "executors", TESTS / "run")
    settings = {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_health_check_period_ms": "500",  # so that a node that was killed is missed after two seconds
        "RAY_health_check_failure_threshold": "4",
        "RAY_health_check_initial_delay_ms": "1000",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        head, *others = NODES
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "include_dashboard": False, "node_name": head, **_MEMORY},
        )
        try:
            nodes = Nodes(cluster, {})
            for name in others:
                nodes.start(name)
            yield nodes
        finally:
            cluster.shutdown()


@contextmanager
def connected(nodes: Nodes, environment: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """This process connected to the cluster, where its tasks have this environment."""
    import ray

    env = {"env_vars": dict(environment)}
    ray.init(address=nodes.address, runtime_env=env, logging_level=logging.ERROR, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
