"""A checkpoint as the plan sees it: everything but the weights' bytes, read once."""

from collections.abc import Mapping

import msgspec

from deepgguf.checkpoint.diagnosis import Seen, no_config
from deepgguf.checkpoint.model_card import HUB, ModelCard, read_model_card
from deepgguf.checkpoint.nested_config import language_part, levels, with_language_field
from deepgguf.checkpoint.quantization import MODELOPT, declared_quantization, quantization_warnings
from deepgguf.checkpoint.shards import Shards, open_shards
from deepgguf.checkpoint.tied_head import head_differs
from deepgguf.checkpoint.tokenizer import Tokenizer, read_tokenizer
from deepgguf.errors import CheckpointError
from deepgguf.executors.executor import Executor
from deepgguf.files.files import Files
from deepgguf.formats.json_text import SMALL_FILE, read_json
from deepgguf.tensors.source_tensor import SourceTensor

_CONFIG = "config.json"
_PROCESSORS = ("processor_config.json", "preprocessor_config.json")
_LONGEST_ID = 200  # characters; the Hub allows 96 for each of its halves


class Checkpoint(msgspec.Struct, frozen=True):
    """Headers, config, tokenizer and model card of the checkpoint in `files`, the name it goes by, and warnings.

    `config`, `processor` and `generation` are the JSON objects of the files of these names; all but the first may be
    empty. `processor` is the error if its file cannot be read, which only a model with vision must raise. `own_head`:
    there is an lm_head that differs from the embedding to which config.json ties it; `config` says then that they are
    not tied.
    """

    files: Files
    name: str
    config: dict[str, object]
    processor: dict[str, object] | CheckpointError
    generation: dict[str, object]
    shards: Shards
    tokenizer: Tokenizer
    card: ModelCard
    warnings: tuple[str, ...]
    own_head: bool = False

    @property
    def tensors(self) -> Mapping[str, SourceTensor]:
        """All tensors by name, in the order of shards and their data."""
        return self.shards.tensors

    @property
    def processor_file(self) -> str:
        """The file that `processor` is of."""
        return _processor_file(self.files) or _PROCESSORS[0]

    @property
    def seen(self) -> Seen:
        """What there is, for `diagnosis`."""
        return Seen(self.files, self.config, self.tensors, self.shards.empty, self.shards.stray)

    @property
    def model_id(self) -> str | None:
        """What config.json calls the model, ORGANIZATION/NAME or a path; None if that cannot be shown as a name."""
        named = next((level["_name_or_path"] for level in levels(self.config) if level.get("_name_or_path")), None)
        return named if isinstance(named, str) and named.isprintable() and len(named) <= _LONGEST_ID else None


def read_checkpoint(files: Files, executor: Executor | None = None) -> Checkpoint:
    """What `files` hold, the headers of shards read by `executor`. CheckpointError if anything is wrong with it."""
    config = _read_config(files)
    card, card_warnings = read_model_card(files)
    quantization = declared_quantization(config, _optional(files, MODELOPT), _base_model(card))
    hidden_size = language_part(config).get("hidden_size")
    shards, shard_warnings = open_shards(files, quantization, executor, hidden_size)
    tied = language_part(config).get("tie_word_embeddings") is True
    own_head = tied and head_differs(shards.tensors, files.by_number(shards.files))
    if own_head:
        config = with_language_field(config, "tie_word_embeddings", False)
    tokenizer, tokenizer_warnings = read_tokenizer(files, config)
    return Checkpoint(
        files=files,
        name=files.checkpoint_name,
        config=config,
        processor=_processor(files),
        generation=_generation(files),
        shards=shards,
        tokenizer=tokenizer,
        card=card,
        warnings=(
            *card_warnings,
            *shard_warnings,
            *quantization_warnings(quantization, shards.tensors.values()),
            *tokenizer_warnings,
        ),
        own_head=own_head,
    )


def read_small_files(files: Files) -> Checkpoint:
    """A checkpoint's config, tokenizer and card, without its shards; CheckpointError as for `read_checkpoint`."""
    config = _read_config(files)
    card, card_warnings = read_model_card(files)
    tokenizer, warnings = read_tokenizer(files, config)
    return Checkpoint(
        files=files,
        name=files.checkpoint_name,
        config=config,
        processor=_processor(files),
        generation=_generation(files),
        shards=Shards((), {}),
        tokenizer=tokenizer,
        card=card,
        warnings=(*card_warnings, *warnings),
    )


def _read_config(files: Files) -> dict[str, object]:
    if _CONFIG not in files.names():
        raise no_config(files)
    return _read_object(files, _CONFIG)


def _read_object(files: Files, name: str) -> dict[str, object]:
    value = read_json(files, name, SMALL_FILE)
    if not isinstance(value, dict):
        raise CheckpointError(name, f"a JSON {type(value).__name__}, expected an object", "download it again")
    return value


def _optional(files: Files, name: str) -> dict[str, object] | None:
    return _read_object(files, name) if name in files.names() else None


def _base_model(card: ModelCard) -> str | None:
    """What the card says that the model was made from."""
    first = card.base_models[0] if card.base_models else None
    if first is None or first.repo_url is None:
        return None
    return first.repo_url.removeprefix(f"{HUB}/")


def _processor_file(files: Files) -> str | None:
    there = files.names()
    return next((name for name in _PROCESSORS if name in there), None)


def _processor(files: Files) -> dict[str, object] | CheckpointError:
    """processor_config.json, or preprocessor_config.json where there is only that."""
    name = _processor_file(files)
    try:
        return _read_object(files, name) if name else {}
    except CheckpointError as error:
        return error


def _generation(files: Files) -> dict[str, object]:
    """generation_config.json; nothing of one that is damaged, of which the tokenizer's reader warns."""
    try:
        return _optional(files, "generation_config.json") or {}
    except CheckpointError:
        return {}
