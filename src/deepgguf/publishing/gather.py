"""A plan and the report of its run to what a card says of them."""

import re
from collections.abc import Mapping

from deepgguf.checkpoint.model_card import HUB, read_model_card
from deepgguf.encodings.encoding import Squares
from deepgguf.formats.gguf.split_set import SPLIT_COUNT
from deepgguf.formats.gguf.types import Value
from deepgguf.planning.schema import Plan, PlannedFile
from deepgguf.publishing.card import Engine, Made, PublishedFile, Said
from deepgguf.run.result import FileReport, Report
from deepgguf.terminal.secrets import without_secrets
from deepgguf.version import __version__

_ON_HUB = re.compile(rf"{re.escape(HUB)}/([\w.-]+/[\w.-]+)/?", re.ASCII)
_OCR = "deepseekocr"  # Ollama's layout of DeepSeek-OCR, which llama.cpp does not know (docs/targets.md)


def said_of(plan: Plan) -> Said:
    """What the checkpoint's card says of the model, or, where a GGUF file is the source, what its keys say.

    Reads the source's README.md.
    """
    if plan.sources and plan.sources[0].name.endswith(".gguf"):
        return _said_by_keys(plan.files[0].keys, plan.name)
    with plan.source:
        card, _ = read_model_card(plan.source)
    return Said(
        name=card.name or plan.name,
        base=card.repository,
        commit=card.revision,
        license=card.license,
        license_name=card.license_name,
        license_link=card.license_link,
        tags=card.tags,
        languages=card.languages,
    )


def made_by(plan: Plan, done: Report, command: str) -> Made:
    """What the run made; engines fetch a file by themselves that is a whole model."""
    files = tuple(map(_published, plan.files, done.files))
    text = [file for file in plan.files if file.kind == "text"]
    runs = text[0].name if text and plan.mtp != "only" else None
    return Made(
        files=files,
        runs=runs,
        engines=tuple(_engines(plan)) if runs else (),
        command=without_secrets(command),
        version=__version__,
    )


def _engines(plan: Plan) -> list[Engine]:
    """By docs/targets.md. The Hub refuses Ollama a split set (huggingface/hub-docs issue 2702, ollama issue 5245)."""
    found: list[Engine] = [] if plan.architecture == _OCR else ["llama.cpp"]
    alone = len(plan.files) == 1 and SPLIT_COUNT not in plan.files[0].keys
    return [*found, "Ollama"] if alone else found


def _published(file: PlannedFile, report: FileReport) -> PublishedFile:
    measured = [result.squares for result in report.tensors if result.squares]
    whole = Squares()
    for squares in measured:
        whole = whole.plus(squares)
    return PublishedFile(
        file.name, report.size, file.bits_per_weight, whole.relative_rms if measured else None, report.sha256
    )


def _said_by_keys(keys: Mapping[str, Value], name: str) -> Said:
    """The keys `general.*`, as `checkpoint/model_card.py` writes them."""
    texts = {key: value.value for key, value in keys.items() if isinstance(value.value, str)}
    address = _ON_HUB.fullmatch(texts.get("general.source.repo_url", ""))
    return Said(
        name=texts.get("general.name", name),
        base=address[1] if address else None,
        license=texts.get("general.license"),
        license_name=texts.get("general.license.name"),
        license_link=texts.get("general.license.link"),
        tags=_list(keys, "general.tags"),
        languages=_list(keys, "general.languages"),
    )


def _list(keys: Mapping[str, Value], name: str) -> tuple[str, ...]:
    items = keys[name].value if name in keys else ()
    return tuple(item for item in items if isinstance(item, str)) if isinstance(items, list) else ()
