"""How to run the files of a plan: the command for a shell, and what else a user has to know."""

import os
import re
import shlex
import string
from collections.abc import Mapping, Sequence

from deepgguf.formats.gguf.split_set import SPLIT_COUNT
from deepgguf.formats.gguf.types import Value
from deepgguf.ollama.modelfile import Modelfile
from deepgguf.ollama.needs import Said, becomes_q8_0, modelfile_for
from deepgguf.planning.schema import Plan, PlannedFile
from deepgguf.run.address import Place, S3Address

_PLAIN = frozenset(f"{string.ascii_letters}{string.digits}/._")
_DRAFTING = ("llama-server", "--spec-type", "draft-mtp")  # common/arg.cpp
_NUMBER = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)")


def run_command(plan: Plan, folder: Place) -> str | None:
    """The shell command that runs what `plan` writes into `folder`.

    None if its files are not a whole model, a Modelfile cannot name them, or they are not on this machine.
    """
    if isinstance(folder, S3Address):
        return None
    text, mmproj = _paths(plan, folder, "text"), _paths(plan, folder, "mmproj")
    if len(text) < _files(plan) or plan.mtp == "only":
        return None
    if plan.target == "ollama":
        return None if _breaks_a_line(text + mmproj) else _ollama(text + mmproj, _needs(plan))
    # llama.cpp takes the first file of a split set.
    return (
        _shell("llama-mtmd-cli", "-m", text[0], "--mmproj", *mmproj) if mmproj else _shell("llama-cli", "-m", text[0])
    )


def how_to_run(plan: Plan, folder: Place) -> list[str]:
    """The command, or why there is none, and what holds for a split set."""
    if isinstance(folder, S3Address):
        return [f"fetch it to run it: {_shell('aws', 's3', 'cp', f'{folder / file.name}', '.')}" for file in plan.files]
    command, files, text = run_command(plan, folder), _files(plan), _paths(plan, folder, "text")
    draft = _paths(plan, folder, "draft")
    if draft:
        words = ("llama-server", "--spec-type", "draft-dspark", "-m", "MODEL.gguf", "--model-draft", draft[0])
        return [f"it drafts for its model: {_shell(*words)}"]
    if command is None and not text:
        alike = _shell("llama-mtmd-cli", "-m", "MODEL.gguf", "--mmproj", *_paths(plan, folder, "mmproj"))
        return [f"an mmproj runs only together with its model: {alike}"]
    if plan.mtp == "only":
        return [f"MTP layers draft for their model: {_shell(*_DRAFTING, '-m', 'MODEL.gguf', '--model-draft', text[0])}"]
    if command is None and len(text) == files:
        return ["a Modelfile cannot name a file whose path has a line break; rename it"]
    if command is None:
        return [f"run it once all {files} files are there"]
    lines = [f"run it: {command}"]
    if plan.mtp == "keep":
        lines.append(f"its MTP layers draft if asked to: {_shell(*_DRAFTING, '-m', text[0])}")
    if plan.target == "ollama" and becomes_q8_0(_keys(plan)):
        lines.append("Ollama makes Q8_0 of it, for it was FP8; --type q8_0 gives that at once, in half the space")
    if files > 1 and plan.target == "ollama":
        joined = _shell("llama-gguf-split", "--merge", text[0], _NUMBER.sub("", text[0]))
        lines.append(f"Ollama before 0.30 refuses a split set; join the files for it: {joined}")
    elif files > 1:
        lines.append("llama.cpp finds the other files beside the first")
    return lines


def split_note(plan: Plan) -> str | None:
    """What the engine must be able to do to load the files of `plan`, if they are a split set for Ollama."""
    if _files(plan) == 1 or plan.target != "ollama":
        return None
    return "Ollama loads a split set since 0.30, by a FROM for every file; `convert` prints the command"


def _needs(plan: Plan) -> list[str]:
    """The lines of a Modelfile without which chats would go wrong."""
    needs = modelfile_for(_keys(plan), Said())
    return Modelfile(template=needs.template, renderer=needs.renderer, parser=needs.parser).text(()).splitlines()


def _keys(plan: Plan) -> Mapping[str, Value]:
    return next(file.keys for file in plan.files if file.kind == "text")


def _ollama(paths: Sequence[str], needs: Sequence[str]) -> str:
    """Registers the model and runs it: one FROM for each file of a split set, each to the end of its line."""
    stem = _NUMBER.sub("", os.path.basename(paths[0])).removesuffix(".gguf")  # noqa: PTH119
    # What Ollama allows of a name: at most 80 of these characters, the first a letter or digit.
    name = re.sub(r"[^a-z0-9_.-]+", "-", stem.lower()).lstrip("-._")[:80] or "model"
    modelfile = _shell("printf", "FROM %s\\n", *paths)
    more = _shell("printf", "%s\\n", *needs)
    made = f"{modelfile} > Modelfile && {more} >> Modelfile" if needs else f"{modelfile} > Modelfile"
    return f"{made} && ollama create {name} -f Modelfile && ollama run {name}"


def _breaks_a_line(paths: Sequence[str]) -> bool:
    """Whether Ollama would read the rest of a path as the next instruction."""
    return any(character in path for path in paths for character in "\r\n")


def _shell(*words: str) -> str:
    return " ".join(map(_word, words))


def _word(text: str) -> str:
    """Quoted for a POSIX shell; what a terminal would not show, or show as something else, is for its printf."""
    if text.isprintable():
        return shlex.quote(text)
    octal = "".join(chr(b) if chr(b) in _PLAIN else f"\\{b:03o}" for b in os.fsencode(text))
    return f"\"$(printf '{octal}')\""


def _paths(plan: Plan, folder: Place, kind: str) -> list[str]:
    """The paths of one kind's files; "./" stays, so that none looks like an option."""
    return [f"{folder}/{file.name}" for file in plan.files if file.kind == kind]


def _files(plan: Plan) -> int:
    """How many files the text model has, whether or not this plan writes them all."""
    return max((_count(file) for file in plan.files if file.kind == "text"), default=1)


def _count(file: PlannedFile) -> int:
    count = file.keys[SPLIT_COUNT].value if SPLIT_COUNT in file.keys else 1
    assert isinstance(count, int)
    return count
