"""The model card: what README.md's YAML head says of a model, and the `general.*` keys made of it.

The head's fields: https://github.com/huggingface/hub-docs/blob/main/modelcard.md and llama.cpp's own (gguf-py,
metadata.py: apply_metadata_heuristic), whose choice of keys this follows. A card decides no weight: one that cannot be
read is a warning, and the conversion continues without it.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping

import msgspec

from deepgguf.checkpoint.model_name import NameParts, name_parts, size_label, title
from deepgguf.errors import DeepggufError, printable
from deepgguf.files.files import Files
from deepgguf.formats.gguf.types import Value, ValueType

MAX_HEAD_BYTES = 64 << 10  # of a README.md; what follows is not part of the head
CARD = "README.md"
HUB = "https://huggingface.co"

_HUB_MODEL = re.compile(r"https?://huggingface\.co/([^/]+/[^/]+)")
_URL_SCHEMES = ("http://", "https://", "ssh://")
_NO_VALUE = frozenset({"", "~", "null", "Null", "NULL"})


class Related(msgspec.Struct, frozen=True):
    """A model or data set that this one was made from; every field as `general.base_model.N.FIELD` has it."""

    name: str | None = None
    author: str | None = None
    version: str | None = None
    organization: str | None = None
    description: str | None = None
    url: str | None = None
    doi: str | None = None
    uuid: str | None = None
    repo_url: str | None = None


class ModelCard(msgspec.Struct, frozen=True):
    """What is said of a checkpoint; None and empty where nothing is.

    `repository` (ORGANIZATION/NAME) and `revision` (a commit's hash) come from where the files are, all else from the
    card. `url`, `doi`, `uuid`, `repo_url` are the original weights'. `tags` include the card's
    `pipeline_tag`; several licenses are joined by commas.
    """

    repository: str | None = None
    revision: str | None = None
    name: str | None = None
    author: str | None = None
    version: str | None = None
    organization: str | None = None
    description: str | None = None
    finetune: str | None = None
    basename: str | None = None
    size_label: str | None = None
    url: str | None = None
    doi: str | None = None
    uuid: str | None = None
    repo_url: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    base_models: tuple[Related, ...] = ()
    datasets: tuple[Related, ...] = ()


# A field of ModelCard -> the card's names for it; the first that is there counts.
_TEXTS: dict[str, tuple[str, ...]] = {
    "name": ("name", "model_name"),
    "author": ("author", "model_author", "model_creator"),
    "version": ("version", "model_version"),
    "organization": ("organization", "model_organization"),
    "description": ("description", "model_description"),
    "finetune": ("finetune", "model_finetune"),
    "basename": ("basename", "model_basename", "model_type"),
    "size_label": ("size_label", "model_size_label"),
    "url": ("url", "model_url"),
    "doi": ("doi", "model_doi"),
    "uuid": ("uuid", "model_uuid"),
    "repo_url": ("repo_url", "model_repo_url"),
    "license_name": ("license_name",),
    "license_link": ("license_link",),
}
_BASE_MODELS = ("base_model", "base_models", "base_model_sources")
_DATASETS = ("datasets", "dataset", "dataset_sources")


def read_model_card(files: Files) -> tuple[ModelCard, tuple[str, ...]]:
    """The card of a checkpoint, and warnings: about a README.md that cannot be read, and about fields that cannot be
    used. No README.md, or one without a head, is no reason for a warning.
    """
    card, warnings = _read(files)
    repository, revision = files.repository
    return msgspec.structs.replace(card, repository=repository, revision=revision), warnings


def parse_model_card(document: bytes) -> tuple[ModelCard, tuple[str, ...]]:
    """The card that the first bytes of a README.md hold, and warnings; never an error, whatever the bytes."""
    from deepgguf.checkpoint import yaml_head  # PyYAML is loaded only where there is a card

    try:
        head = yaml_head.yaml_head(document)
    except yaml_head.YamlHeadError as e:
        return ModelCard(), (printable(f"{CARD}: {e}; nothing of it is written into the file"),)
    reader = _Fields(head)
    texts = {field: reader.text(*names) for field, names in _TEXTS.items()}
    card = ModelCard(
        **texts,
        license=",".join(reader.texts("license")) or None,
        tags=reader.texts("tags") + reader.texts("pipeline_tag"),
        languages=reader.texts("languages") + reader.texts("language"),
        base_models=reader.related(*_BASE_MODELS),
        datasets=reader.related(*_DATASETS),
    )
    return card, tuple(reader.warnings)


def general_keys(
    card: ModelCard, folder_name: str, parameters: tuple[int, int, int, int], model_id: str | None = None
) -> dict[str, Value]:
    """The `general.*` keys about name, size, license and origin, as llama.cpp's converter writes them.

    What the card leaves open is taken from the first of these names that says it: the repository in Hugging Face's
    cache, `model_id` (config.json's `_name_or_path`, ignored where it is a path), `folder_name`. `parameters` are
    (total, shared, of one expert of each block, number of experts), all 0 if unknown; they make the size label where no
    name has one. All values are STRING, but for counts (UINT32), tags and languages (ARRAY of STRING).
    """
    names = [name_parts(name, parameters[0]) for name in _names(card, folder_name, model_id)]
    size = card.size_label or _first(names, "size_label") or (size_label(*parameters) if parameters[0] > 0 else None)
    repository = f"{HUB}/{card.repository}" if card.repository else None
    snapshot = f"{repository}/tree/{card.revision}" if repository and card.revision else repository
    texts = {
        "name": card.name or _titled(_first(names, "name")) or folder_name,
        "author": card.author,
        "version": card.version or _first(names, "version"),
        "organization": card.organization or _titled(_first(names, "organization")),
        "finetune": card.finetune or _first(names, "finetune"),
        "basename": card.basename or _first(names, "basename"),
        "description": card.description,
        "size_label": size,
        "license": card.license,
        "license.name": card.license_name,
        "license.link": card.license_link,
        "source.url": card.url or snapshot,
        "source.doi": card.doi,
        "source.uuid": card.uuid,
        "source.repo_url": card.repo_url or repository,
    }
    keys = {f"general.{key}": Value(ValueType.STRING, text) for key, text in texts.items() if text}
    keys |= _related_keys("general.base_model", card.base_models) | _related_keys("general.dataset", card.datasets)
    lists = {"tags": card.tags, "languages": card.languages}
    return keys | {
        f"general.{key}": Value(ValueType.ARRAY, list(texts), ValueType.STRING) for key, texts in lists.items() if texts
    }


def _read(files: Files) -> tuple[ModelCard, tuple[str, ...]]:
    if CARD not in files.names():
        return ModelCard(), ()
    try:
        file = files.facts(CARD)
        document = files.read(file, 0, min(file.size, MAX_HEAD_BYTES)).tobytes()
    except DeepggufError as e:
        return ModelCard(), (str(e),)
    return parse_model_card(document)


def _names(card: ModelCard, folder_name: str, model_id: str | None) -> list[str]:
    candidates = [card.repository, model_id if model_id and model_id.count("/") <= 1 else None, folder_name]
    return [name for name in candidates if name]


def _first(names: Iterable[NameParts], field: str) -> str | None:
    return next((value for value in (getattr(name, field) for name in names) if value), None)


def _titled(text: str | None) -> str | None:
    return title(text) if text else None


def _related_keys(prefix: str, related: tuple[Related, ...]) -> dict[str, Value]:
    keys = {f"{prefix}.count": Value(ValueType.UINT32, len(related))} if related else {}
    for number, entry in enumerate(related):
        for field, text in msgspec.structs.asdict(entry).items():
            if text is not None:
                keys[f"{prefix}.{number}.{field}"] = Value(ValueType.STRING, text)
    return keys


class _Fields:
    """The members of a head as typed fields; what cannot be used is left out with a warning."""

    def __init__(self, head: Mapping[str, object]) -> None:
        self._head = head
        self.warnings: list[str] = []

    def text(self, *names: str) -> str | None:
        """The first of these members that has a value."""
        return next((text for name in names if (text := self._text(name, self._head.get(name))) is not None), None)

    def texts(self, name: str) -> tuple[str, ...]:
        """A member that is a text or a list of them."""
        entries = (self._text(name, entry) for entry in self._entries(name))
        return tuple(entry for entry in entries if entry is not None)

    def related(self, *names: str) -> tuple[Related, ...]:
        """The first of these members that is there: models or data sets, each an id, a URL, or fields of its own."""
        name = next((name for name in names if name in self._head), names[0])
        entries = (self._related(name, entry) for entry in self._entries(name))
        return tuple(entry for entry in entries if entry is not None)

    def _entries(self, name: str) -> list[object]:
        value = self._head.get(name)
        return value if isinstance(value, list) else [value]

    def _text(self, name: str, value: object) -> str | None:
        if value is None or (isinstance(value, str) and value in _NO_VALUE):
            return None
        if not isinstance(value, str):
            self._leave_out(name, "is a list or mapping, expected text")
        elif any(unicodedata.category(c) in ("Cc", "Cs") and c != "\n" for c in value):
            self._leave_out(name, "has control characters or half a surrogate pair")
        else:
            return value
        return None

    def _related(self, name: str, entry: object) -> Related | None:
        if isinstance(entry, dict):
            fields = {field: self._text(f"{name}.{field}", entry.get(field)) for field in Related.__struct_fields__}
            return Related(**fields)
        text = self._text(name, entry)
        return None if text is None else _related_from_id(text)

    def _leave_out(self, name: str, found: str) -> None:
        self.warnings.append(printable(f"{CARD}: {name} {found}; it is left out"))


def _related_from_id(text: str) -> Related:
    is_url = text.startswith(_URL_SCHEMES)
    on_hub = _HUB_MODEL.fullmatch(text)
    if is_url and not on_hub:
        return Related(repo_url=text)
    parts = name_parts(on_hub[1] if on_hub else text)
    hub_url = f"{HUB}/{parts.organization}/{parts.name}" if parts.organization else None
    return Related(
        name=_titled(parts.name),
        organization=_titled(parts.organization),
        version=parts.version,
        repo_url=text if is_url else hub_url,
    )
