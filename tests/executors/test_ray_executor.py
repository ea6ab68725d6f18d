"""A Ray cluster is an executor as any other."""

import pytest
from executor_claims import ExecutorClaims

from deepgguf.executors.executor import Executor
from deepgguf.executors.ray import Ray
from ray_cluster import connected

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module", autouse=True)
def _connected(ray_nodes):
    with connected(ray_nodes):
        yield


class TestRay(ExecutorClaims):
    def executor(self) -> Executor:
        return Ray()
