"""Each example of CONTRIBUTING.md, applied to a clean tree, is one new module and its test, which passes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import deepgguf

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
# A file's name in bold, then its text in the next block of Python.
FILE = re.compile(
    r"^\*\*`(?P<path>(?:src|tests)/[^`]+\.py)`\*\*.*?\n```python\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)
EXAMPLES = ("To add a model", "To add a stored form", "To add a source of files", "To add an executor")


def example(title: str) -> dict[str, str]:
    """The files of an example: path to text."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return {match["path"]: match["text"] for match in FILE.finditer(section)}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what is tested, in a repository of its own."""
    shutil.copytree(
        Path(deepgguf.__file__).parent, tmp_path / "src" / "deepgguf", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__", "goldens"))
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A", "-f")
    git(tmp_path, "-c", "user.name=x", "-c", "user.email=x@x.example", "commit", "-qm", "clean")
    return tmp_path


def git(tree: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=tree, check=True, capture_output=True, text=True).stdout


def test_no_example_is_left_out():
    assert tuple(re.findall(r"^## (To add .*)$", PAGE, re.MULTILINE)) == EXAMPLES


@pytest.mark.slow
@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_is_one_module_and_its_test_and_the_test_passes(tree, title):
    files = example(title)
    for path, text in files.items():
        assert not (tree / path).exists()
        (tree / path).write_text(text)
    module, test = files
    assert git(tree, "status", "--porcelain").splitlines() == [f"?? {module}", f"?? {test}"]
    assert module.startswith("src/deepgguf/")

    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", test]
    found = subprocess.run(command, check=False, cwd=tree, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert re.search(r"^\d+ passed", found.stdout, re.MULTILINE)
