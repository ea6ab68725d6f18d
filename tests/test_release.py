"""What stands in several places when a version is released."""

import re
import tomllib
from pathlib import Path

import yaml

import deepgguf

ROOT = Path(__file__).parents[1]


def test_changes_and_citation_are_of_this_version_and_of_one_day():
    (version, day), *_ = re.findall(r"^## \[([\d.]+)\] - ([\d-]+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert deepgguf.__version__ == version == cited["version"]
    assert day == str(cited["date-released"])


def test_every_file_of_github_s_is_yaml_and_every_form_has_what_it_needs():
    files = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github").rglob("*.yml")}
    forms = [form for form in files.values() if "body" in form]
    assert len(forms) == 2
    assert all({"name", "description", "body"} <= form.keys() for form in forms)
    asked = [field["attributes"]["label"] for field in files["bug.yml"]["body"]]
    assert any("deepgguf plan SRC --json" in label for label in asked)
    assert any("deepgguf doctor FILE.gguf" in label for label in asked)


def test_wheels_are_built_and_tested_for_every_python_that_is_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [c.rpartition(" ")[2] for c in project["project"]["classifiers"] if "Python :: 3." in c]
    built = project["tool"]["cibuildwheel"]["build"].split()
    assert built == [f"cp{version.replace('.', '')}-*" for version in named]
    assert project["tool"]["scikit-build"]["wheel"]["py-api"] == "cp312"
