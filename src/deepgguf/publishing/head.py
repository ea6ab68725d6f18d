"""The YAML head of a model card: https://github.com/huggingface/hub-docs/blob/main/modelcard.md."""

from collections.abc import Sequence

import yaml

from deepgguf.errors import printable
from deepgguf.publishing.card import Card

# Of the Hub's tasks those that models of these families are for; the first is what others are taken for.
_PIPELINES = ("text-generation", "image-text-to-text", "image-to-text")
# What a repository of GGUF files is not, though the original is.
_OF_THE_ORIGINAL = frozenset({"transformers", "safetensors", "custom_code", "fp8"})

_LONGEST = 2000  # of an address


def head_of(card: Card) -> str:
    """The head with both fences; what is not known is left out."""
    said = card.said
    base = {"base_model": said.base, "base_model_relation": "quantized"} if said.base else {}
    owner = {"quantized_by": card.published_as.partition("/")[0]} if card.published_as else {}
    licenses = (said.license or "").split(",")
    fields = {
        **base,
        **owner,
        "license": _one_or_all([printable(license) for license in licenses if license]),
        "license_name": printable(said.license_name or ""),
        "license_link": printable(said.license_link or "", _LONGEST),
        "language": list(map(printable, said.languages)),
        "library_name": "gguf",
        "pipeline_tag": next((tag for tag in said.tags if tag in _PIPELINES), _PIPELINES[0]),
        "tags": _tags(said.tags),
    }
    known = {name: value for name, value in fields.items() if value}
    return f"---\n{yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=1000)}---\n"


def _tags(tags: Sequence[str]) -> list[str]:
    kept = (printable(tag) for tag in tags if tag not in _OF_THE_ORIGINAL and tag not in _PIPELINES)
    return list(dict.fromkeys(["gguf", "deepgguf", *kept]))


def _one_or_all(texts: list[str]) -> str | list[str] | None:
    return texts[0] if len(texts) == 1 else texts or None
