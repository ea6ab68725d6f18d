"""A checkpoint as the plan sees it: everything but the weights' bytes, read once."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from deepgguf.checkpoint.catalog import declared_block
from deepgguf.checkpoint.model_card import ModelCard, read_model_card
from deepgguf.checkpoint.shards import Shards, open_shards
from deepgguf.checkpoint.tokenizer import Tokenizer, read_tokenizer
from deepgguf.errors import CheckpointError
from deepgguf.files.folder import checkpoint_name, resolve_checkpoint
from deepgguf.formats.json_text import read_json
from deepgguf.tensors.source_tensor import SourceTensor

_CONFIG_CAP = 32 << 20
_LONGEST_ID = 200  # characters; the Hub allows 96 for each of its halves


class Checkpoint(msgspec.Struct, frozen=True):
    """Headers, config, tokenizer and model card of the checkpoint in `folder`, and the name it goes by."""

    folder: str
    name: str
    config: dict[str, object]
    processor: dict[str, object]
    shards: Shards
    tokenizer: Tokenizer
    card: ModelCard
    warnings: tuple[str, ...]

    @property
    def tensors(self) -> Mapping[str, SourceTensor]:
        """All tensors by name, in the order of shards and their data."""
        return self.shards.tensors

    @property
    def model_id(self) -> str | None:
        """What config.json calls the model, ORGANIZATION/NAME or a path; None if that is no name that can be shown."""
        named = self.config.get("_name_or_path")
        return named if isinstance(named, str) and named.isprintable() and len(named) <= _LONGEST_ID else None


def read_checkpoint(path: Path) -> Checkpoint:
    """What `path` holds, a folder or a model in Hugging Face's cache. CheckpointError if anything is wrong with it."""
    folder = resolve_checkpoint(path)
    config = _read_object(folder / "config.json")
    card, warnings = read_model_card(folder)
    return Checkpoint(
        folder=str(folder.absolute()),
        name=checkpoint_name(path),
        config=dict(config),
        processor=dict(_processor(folder)),
        shards=open_shards(folder, declared_block(config)),
        tokenizer=read_tokenizer(folder),
        card=card,
        warnings=tuple(warnings),
    )


def _read_object(path: Path) -> Mapping[str, object]:
    value = read_json(path, _CONFIG_CAP)
    if not isinstance(value, Mapping):
        raise CheckpointError(path.name, f"a JSON {type(value).__name__}, expected an object", "download it again")
    return value


def _processor(folder: Path) -> Mapping[str, object]:
    """processor_config.json, or preprocessor_config.json where there is only that."""
    names = ("processor_config.json", "preprocessor_config.json")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    return _read_object(path) if path else {}
