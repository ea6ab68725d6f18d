"""A Ray cluster is an executor as any other."""

import pytest
from executor_claims import ExecutorClaims

from deepgguf.executors.executor import Executor
from deepgguf.executors.ray import Ray


@pytest.mark.usefixtures("ray_nodes")
class TestRay(ExecutorClaims):
    def executor(self) -> Executor:
        return Ray()
