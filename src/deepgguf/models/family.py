"""The declaration of a model family: its config, its table of tensors, and what each target makes of it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.tokenizer import Tokenizer
from deepgguf.choices import FileKind, Mtp
from deepgguf.encodings.encoding import Encoding
from deepgguf.formats.gguf.types import GGMLType, Value
from deepgguf.models.bundled_templates import BundledTemplate
from deepgguf.models.config_schema import JsonObject
from deepgguf.models.storage import CHOSEN, F32, MATRIX, widest
from deepgguf.models.table import Output, Row
from deepgguf.recipes.choice import NO_EXCEPTIONS, Exceptions
from deepgguf.recipes.fallback import fits
from deepgguf.tensors.source_tensor import SourceTensor

C = TypeVar("C")  # a family's config struct


class KeyFacts(msgspec.Struct, frozen=True):
    """What keys are made of besides the typed config: the checkpoint, the file's architecture, the tensors.

    `mtp_layers` is the number of layers of multi-token prediction whose keys the file has.
    `fp8_tensors`: the names of outputs that came from FP8. `parameters`: (total, shared, of one expert of every block,
    number of experts), for size labels.
    """

    checkpoint: Checkpoint
    architecture: str
    fp8_tensors: tuple[str, ...]
    parameters: tuple[int, int, int, int]
    mtp_layers: int = 0


class TargetFile(msgspec.Struct, Generic[C], frozen=True):
    """A file of a target's file set: `general.architecture`, and its keys, all but `general.file_type`."""

    architecture: str
    keys: Callable[[C, KeyFacts], dict[str, Value]]


class Target(msgspec.Struct, Generic[C], frozen=True):
    """What a target makes of a family.

    `plain_types[storage][plain type of the source]`: the type without a choice. `file_types[type]`: general.file_type
    of an unquantized file, by the type of most of its weights. `exceptions`: where the target differs from
    llama-quantize. `limits(config)`: sentences about what the target's engine cannot do. `mtp`: what can become of
    layers of multi-token prediction; the first is what the reference converter does.

    `stored_types`: the types without a choice of matrices that are stored in these forms. `direct`: quantized types are
    made of the weights as they are stored, not of those that an unquantized file would have.
    """

    files: Mapping[FileKind, TargetFile[C]]
    plain_types: Mapping[str, Mapping[GGMLType, GGMLType]]
    file_types: Mapping[GGMLType, int]
    exceptions: Exceptions = NO_EXCEPTIONS
    limits: Callable[[C], tuple[str, ...]] = lambda config: ()
    mtp: tuple[Mtp, ...] = ("drop",)
    stored_types: Mapping[type[Encoding], GGMLType] = {}
    direct: bool = False

    def type_of(self, output: Output, forms: Collection[Encoding], chosen: GGMLType | None) -> GGMLType:
        """The type of `output`, whose sources have these `forms`, in a file without quantization by recipe, if `chosen`
        was asked for.
        """
        if chosen is not None:
            return CHOSEN[output.storage][chosen]
        own = {self.stored_types.get(type(form.form)) for form in forms} if output.storage == MATRIX else {None}
        found = own.pop()
        if found is not None and not own and fits(found, output.view.row_length):
            return found
        return self.plain_types[output.storage][widest({form.plain for form in forms})]

    def type_before(self, output: Output, forms: Collection[Encoding]) -> GGMLType:
        """The type that a recipe starts from."""
        return self.type_of(output, forms, F32 if self.direct else None)


class Family(msgspec.Struct, Generic[C], frozen=True):
    """A model class of Hugging Face.

    `name` is what config.json calls it. `parse(config, where)` gives the typed config or a CheckpointError.
    `table(config, mtp_layers)` yields every tensor that the checkpoint must contain, and those of so many layers of
    multi-token prediction; `mtp_layers(config)` is how many config.json promises. `drop_reason(config, name)` says why
    another tensor is left out, or None if it is unknown. `limits(config)`: sentences about what no engine can do with
    the model; `prompt_limits(tokenizer)`: how its prompts will differ from what it learned. `model_type` is the other
    name in config.json, empty where other models share it; `also` are further architectures and model types of the same
    model. One that is `variant_of` another has that one's architecture in its config.json, and its own name as the
    model_type. `measured(config, tensors)` is the config with what only the checkpoint's tensors say. `pre` is the
    pre-tokenizer of the models that have been published, `chat_template(config)` what the model was trained on if it
    ships none. `draft_table(config)`: the tensors of a model that the same checkpoint holds to draft for this one.
    """

    name: str
    parse: Callable[[JsonObject, str], C]
    table: Callable[[C, int], Iterator[Row]]
    drop_reason: Callable[[C, str], str | None]
    targets: Mapping[str, Target[C]]
    limits: Callable[[C], tuple[str, ...]] = lambda config: ()
    model_type: str = ""
    also: tuple[str, ...] = ()
    variant_of: str = ""
    measured: Callable[[C, Mapping[str, SourceTensor]], C] = lambda config, tensors: config
    mtp_layers: Callable[[C], int] = lambda config: 0
    prompt_limits: Callable[[Tokenizer], tuple[str, ...]] = lambda tokenizer: ()
    pre: str = "deepseek-v3"
    draft_table: Callable[[C], Iterator[Row]] = lambda config: iter(())
    chat_template: Callable[[C], BundledTemplate | None] = lambda config: None


AnyFamily = Family[Any]
AnyTarget = Target[Any]
