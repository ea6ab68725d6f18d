"""A Ray cluster of three node processes on this machine, each with one processor; its head carries out nothing."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import deepgguf

TESTS = Path(__file__).parent
NODES = ("node-1", "node-2", "node-3")
_MEMORY = {"object_store_memory": 80 << 20, "memory": 4 << 30}


class Nodes(NamedTuple):
    """A running cluster, and its nodes by name."""

    cluster: Any
    by_name: dict[str, Any]

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def start(self, name: str) -> None:
        self.by_name[name] = self.cluster.add_node(num_cpus=1, node_name=name, **_MEMORY)

    def kill(self, name: str) -> None:
        """All processes of the node, at once, as by a power failure."""
        self.cluster.remove_node(self.by_name.pop(name), allow_graceful=False)


@contextmanager
def ray_cluster(environment: Mapping[str, str]) -> Iterator[Nodes]:
    """The cluster; what runs on it has this environment too, and imports what the tests of executors do."""
    from ray.cluster_utils import Cluster

    paths = (Path(deepgguf.__file__).parents[1], TESTS, TESTS / "executors", TESTS / "run")
    settings = {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_health_check_period_ms": "500",  # so that a node that was killed is missed after two seconds
        "RAY_health_check_failure_threshold": "4",
        "RAY_health_check_initial_delay_ms": "0",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**settings, **environment}.items():
            patch.setenv(name, value)
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "node_name": "head", **_MEMORY},
        )
        try:
            nodes = Nodes(cluster, {})
            for name in NODES:
                nodes.start(name)
            yield nodes
        finally:
            cluster.shutdown()
