"""The declaration of an architecture: the config's schema and the tensors that it promises."""

from collections.abc import Callable, Iterator

import msgspec

from deepgguf.architectures.config_schema import JsonObject
from deepgguf.architectures.language_model import LanguageConfig
from deepgguf.architectures.tensors import ExpectedTensor
from deepgguf.architectures.vision_encoders import VisionConfig


class Model(msgspec.Struct, frozen=True):
    """One checkpoint's config, typed: the language model and, where there is one, the vision part."""

    architecture: str
    language: LanguageConfig
    vision: VisionConfig | None = None


class Architecture(msgspec.Struct, frozen=True):
    """A model class of Hugging Face.

    `name` is what config.json calls it. `parse(config, where)` gives the typed model or a CheckpointError.
    `tensors(model)` yields every tensor that the checkpoint must contain; `drop_reason(model, name)` says why another
    one is left out, or None if it is unknown. `limits(model)` are sentences about what the engines cannot do with it.
    """

    name: str
    parse: Callable[[JsonObject, str], Model]
    tensors: Callable[[Model], Iterator[ExpectedTensor]]
    drop_reason: Callable[[Model, str], str | None]
    limits: Callable[[Model], tuple[str, ...]] = lambda model: ()
