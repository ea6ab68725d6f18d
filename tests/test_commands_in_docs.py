"""Every command that README and docs show, run as it stands, on samples under the names that the pages use."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import deepgguf
from deepgguf.cli import arguments as command_line
from deepgguf.cli import main

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# Programs of others, and ours that CI runs by itself (.ci/run).
NOT_OURS = {"pip", "python3", "hf", "ollama", "docker", "ray", "sbatch", "kubectl",
            ".venv/bin/pip", ".venv-test/bin/pip", ".venv-test/bin/python"}  # fmt: skip
ELSEWHERE = ("hf:", "ray:", "https:", "s3:", "gs:", "az:", "/shared/")
# Files and sets of a whole model are larger than those of a sample.
SIZE = re.compile(r"\b(\d+)G\b")
FIRST_OF_A_SET = re.compile(r"([\w-]+-00001-of-)\d{5}\.gguf")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(block: str) -> Iterator[tuple[list[str], str]]:
    """Each command's words, and the comment behind it."""
    for line in block.replace("\\\n", " ").splitlines():
        comment = line.partition("  # ")[2]
        for command in line.split(" && "):
            if words := shlex.split(command, comments=True):
                yield words, comment


def program(words: list[str]) -> str:
    """What is called, behind values for its environment or before a variable takes what it prints."""
    name, equals, value = words[0].partition("=")
    if not equals:
        return name
    return value.removeprefix("$(") if value.startswith("$(") else program(words[1:])


@pytest.fixture(scope="module")
def given(checkpoint, ollamas, tmp_path_factory) -> Path:
    """What the pages take for granted: checkpoints, and files that were made of them before."""
    folder = tmp_path_factory.mktemp("given")
    v3, ocr, bf16 = checkpoint("v3-fp8"), checkpoint("ocr"), checkpoint("v3-bf16")
    shutil.copytree(v3, folder / "DeepSeek-V3")
    shutil.copytree(ocr, folder / "DeepSeek-OCR")
    shutil.copyfile(ROOT / "tests" / "goldens" / "imatrix" / "imatrix-v3-bf16.gguf", folder / "imatrix.gguf")
    for name in ("V3-BF16", "DeepSeek-V3-BF16", "DeepSeek-V3"):
        deepgguf.convert(bf16, folder / f"{name}.gguf", target="llama.cpp")
    deepgguf.convert(bf16, folder / "V3-BF16.gguf", target="llama.cpp", split_max_tensors=15)
    deepgguf.convert(v3, folder / "V3-Q4_K_M.gguf", type="q4_k_m", split_max_tensors=20)
    deepgguf.convert(ocr, folder / "ocr.gguf", target="llama.cpp")
    for type in ("q4_k_m", "q3_k_m"):
        deepgguf.quantize(folder / "V3-BF16.gguf", folder / f"V3-{type.upper()}.gguf", type=type)
    deepgguf.quantize(
        folder / "V3-BF16.gguf", folder / "V3-IQ2_XXS.gguf", type="iq2_xxs", imatrix=folder / "imatrix.gguf"
    )
    shutil.copyfile(ollamas, folder / "V3.gguf")
    deepgguf.patch(folder / "V3.gguf", folder / "V3-mended.gguf", mend=True)
    return folder


@pytest.fixture
def there(given, tmp_path, monkeypatch) -> Path:
    """A folder with all that, a store of Ollama's, and no server of it."""
    shutil.copytree(given, tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    for folder in ("models", "V3-GGUF"):
        Path(folder).mkdir()
    for folder in ("blobs", "manifests"):
        (tmp_path / "store" / folder).mkdir(parents=True)
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    return tmp_path / "there"


def here(text: str) -> str:
    """What a page says, of the folder `models`, of a sample's sizes, and of the sets that are there."""
    text = SIZE.sub(lambda found: f"{int(found[1]) * 18}K", text.replace("/models/", "models/"))
    sets = {str(path)[:-10]: str(path) for path in Path().glob("*-00001-of-*.gguf")}
    return FIRST_OF_A_SET.sub(lambda found: sets.get(found[1], found[0]), text)


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=f"{page.stem}-{i}") for page in PAGES for i, block in enumerate(blocks(page, "sh"))],
)
def test_a_block_of_commands_runs_from_top_to_bottom(there, block, capsys):
    before = set(there.iterdir())
    for words, comment in commands(here(block)):
        if "--resume" in words:  # of a run that did not get as far as the one above
            for path in set(there.glob("*.gguf*")) - before:
                path.unlink()
        if not program(words).endswith("deepgguf"):
            assert program(words) in NOT_OURS
        elif any(word.startswith(ELSEWHERE) for word in words):
            command_line.parse(words[1:])
        else:
            written = [Path(name) for name in re.findall(r"^writes (\S+\.gguf)", comment)]
            for path in written:
                path.unlink(missing_ok=True)
                path.with_name(f"{path.name}.json").unlink(missing_ok=True)
            assert main(words[1:]) == 0, (words, capsys.readouterr())
            assert all(path.exists() for path in written)


def test_the_plan_that_readme_shows_is_that_of_the_whole_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (made,) = re.findall(r"`deepgguf (sample [^`]* --size full [^`]*)`", PAGES[0].read_text())
    assert main(made.split()) == 0
    (block,) = blocks(PAGES[0], "console")
    command, *shown = block.splitlines()
    capsys.readouterr()
    assert main(command.split()[2:]) == 0
    said = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert [line for line in shown if line != "…" and " ".join(line.split()) not in said] == []


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page, "python")])
def test_a_block_of_python_runs(there, block):
    exec(compile(here(block), "a page", "exec"), {"deepgguf": deepgguf})


def test_the_reference_has_every_public_name():
    named = re.findall(r"^::: deepgguf\.(\w+)$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(set(deepgguf.__all__) - {"__version__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_page_names_a_script_or_a_test_that_is_not_there(page):
    named = re.findall(r"(?<![\w/.])(?:tests|benchmarks|docs|src)/[\w/.-]+\.(?:py|md|go|sh)\b", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def mentioned() -> list[str]:
    """The commands that stand in the text of a page."""
    return sorted(
        {
            command
            for page in PAGES
            for command in re.findall(r"`deepgguf ((?:--)?[a-z]+(?: [^`\n]*)?)`", page.read_text())
        }
    )


@pytest.mark.parametrize("command", mentioned())
def test_a_command_in_the_text_is_understood(command):
    words = shlex.split(command)
    if words[0].startswith("--"):
        assert main(words) == 0
    else:  # pages need not name all that a command needs
        assert any(understood([*words, *["x"] * more]) for more in range(3))


def understood(words: list[str]) -> bool:
    try:
        return bool(command_line.parse(words).run)
    except SystemExit:
        return False


def examples() -> list[str]:
    """The examples in the help of every command."""
    texts = [text for name, text in vars(command_line).items() if isinstance(text, str) and text.startswith("examples")]
    return [line.strip() for text in texts for line in text.splitlines() if line.startswith("  deepgguf ")]


@pytest.mark.parametrize("example", examples())
def test_an_example_in_the_help_is_understood(example):
    command_line.parse(shlex.split(re.split(r"  +| > ", example)[0])[1:])
