import importlib.resources
import subprocess
import sys

import pytest

import deepgguf
from deepgguf.errors import DeepggufError


def in_a_new_process(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_deepgguf_imports_nothing_heavy():
    heavy = "[name for name in ('numpy', 'msgspec', 'rich', 'yaml', 'deepgguf.api') if name in sys.modules]"
    assert in_a_new_process(f"import sys, deepgguf; print({heavy})") == "[]"


@pytest.mark.parametrize("module", ["deepgguf.planning.build", "deepgguf.verification.run"])
def test_the_functions_keep_their_names_from_the_packages(module):
    program = f"import {module}, deepgguf; print(callable(deepgguf.plan), callable(deepgguf.verify))"
    assert in_a_new_process(program) == "True True"


def test_the_package_says_that_it_is_typed():
    assert importlib.resources.files("deepgguf").joinpath("py.typed").is_file()


def test_a_plan_in_python_is_that_of_the_command_line(checkpoint, tmp_path):
    planned = deepgguf.plan(checkpoint("v3-fp8"), tmp_path / "v3.gguf", type="q4_k_m")
    report = deepgguf.convert(checkpoint("v3-fp8"), tmp_path / "v3.gguf", type="q4_k_m")
    assert [file.path.stat().st_size for file in report.files] == [planned.size]
    assert deepgguf.verify(tmp_path / "v3.gguf", checkpoint("v3-fp8")).differences == ()
    assert deepgguf.inspect(tmp_path / "v3.gguf").architecture == planned.architecture


def test_every_error_is_a_deepgguf_error(tmp_path):
    for call in (deepgguf.plan, deepgguf.convert, deepgguf.inspect, deepgguf.verify):
        with pytest.raises(DeepggufError, match="nothing"):
            call(tmp_path / "nothing")
