"""What a checkpoint says of how its weights are quantized, beside what its tensors show.

Tensors decide; words are needed where tensors leave something open (bits in a word, sizes of blocks), and for advice.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from deepgguf.checkpoint.nested_config import language_part
from deepgguf.encodings.opaque import Opaque
from deepgguf.encodings.plain import Plain
from deepgguf.encodings.scaled import DEEPSEEK, Scaled, declared_block
from deepgguf.errors import CheckpointError, printable
from deepgguf.tensors.source_tensor import SourceTensor

MODELOPT = "hf_quant_config.json"
"""Where NVIDIA's modelopt puts it, in older versions there only."""

_BASE_MODEL = "base_model"

_ACTIVATIONS = "static scales of activations, which engines do not use"
_CACHE = ("q_scale", "k_scale", "v_scale", "kv_scale", "prob_scale", "prob_output_scale", "kv_cache_scale")
_PACKED_SHAPE = "shapes of packed weights, beside weights that are not"
_NOT_WEIGHTS = {
    **dict.fromkeys(("input_scale", "output_scale", "input_global_scale", "output_global_scale"), _ACTIVATIONS),
    **dict.fromkeys(("input_scale_inv", "act_scale", "activation_scale", "input_zero_point"), _ACTIVATIONS),
    **dict.fromkeys(("output_zero_point", "k_zero_point", "v_zero_point", *_CACHE), _ACTIVATIONS),
    **dict.fromkeys(("_amax", "input_amax", "output_amax"), "ranges that a quantizer has measured"),
    "weight_shape": _PACKED_SHAPE,
}

# A stranger's pattern must not run for hours: no repeated groups, few repetitions (config_groups of real models have
# one or two).
_LONGEST_PATTERN = 300
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_REPETITION = re.compile(r"[*+{]")
_MOST_REPETITIONS = 3


def drop_reason(name: str) -> str | None:
    """Why quantizers' tensors that hold no weights are left out; None for any other name."""
    return _NOT_WEIGHTS.get(name[name.rfind(".") + 1 :])


def declared_quantization(
    config: Mapping[str, object], modelopt: Mapping[str, object] | None = None, base_model: str | None = None
) -> Mapping[str, object]:
    """`quantization_config` of config.json, one of the language model within it first; where there is none what
    `modelopt`, the content of hf_quant_config.json, or MLX's `quantization` says. Empty if nothing does.

    `base_model`, the model card's, is added: advice names it. CheckpointError if what is there is not an object.
    """
    said = language_part(config)
    found, mlx = said.get("quantization_config"), said.get("quantization")
    if found is None and modelopt is not None:
        inner = modelopt.get("quantization")
        found = {"quant_method": "modelopt", **(inner if isinstance(inner, Mapping) else {})}
    if isinstance(mlx, Mapping) and (found is None or found == mlx):
        found = {"quant_method": "mlx", **mlx}
    if found is None:
        found = {}
    if not isinstance(found, Mapping):
        expected = f"quantization_config is {type(found).__name__}, expected an object"
        raise CheckpointError("config.json", expected)
    return {**found, _BASE_MODEL: base_model} if base_model else found


def quantization_warnings(quantization: Mapping[str, object], tensors: Iterable[SourceTensor]) -> Iterator[str]:
    """A quantization that no tensor has; FP8 whose blocks nothing tells."""
    forms = {id(t.encoding): t.encoding.form for t in tensors}.values()
    said = quantization.keys() - {_BASE_MODEL}
    if said and not any(not isinstance(form, Plain | Opaque) for form in forms):
        method = quantization.get("quant_method")
        yield (
            f"config.json: its quantization ({printable(method)}) is left over, since all weights are stored plainly; "
            "it is ignored, and is better removed"
        )
    assumed = any(isinstance(form, Scaled) and form.block == DEEPSEEK for form in forms)
    if assumed and declared_block(quantization) is None and not quantization.get("config_groups"):
        yield (
            "config.json: no quantization_config.weight_block_size; the scales fit blocks of 128 × 128, as DeepSeek "
            "has them, and are taken for these: compare config.json with the original's"
        )


class _Group(NamedTuple):
    """One of compressed-tensors' config_groups: for which layers, and `words`, the quantization_config with its own."""

    targets: tuple[str, ...]
    words: Mapping[str, object]

    def named(self, layer: str) -> bool:
        """Whether a target is the layer's name, or "re:" and a pattern of it."""
        return any(layer == t or (t.startswith("re:") and re.match(t[3:], layer)) for t in self.targets)

    @property
    def by_class(self) -> bool:
        """Whether it is for all layers of a class, as "Linear"."""
        return any(not t.startswith("re:") and "." not in t for t in self.targets)


class Quantization(msgspec.Struct, frozen=True):
    """What is said of all layers, and of those of each group."""

    words: Mapping[str, object]
    groups: tuple[_Group, ...]

    @classmethod
    def of(cls, words: Mapping[str, object]) -> "Quantization":
        """By `quantization_config`; CheckpointError for config_groups that are none, or patterns that take too long."""
        groups = words.get("config_groups")
        if not isinstance(groups, Mapping):
            return cls(words, ())
        return cls(words, tuple(_group(name, group, words) for name, group in groups.items()))

    def of_layer(self, layer: str) -> Mapping[str, object]:
        """What is said of a layer: by the group that names it, else by one for its class (as compressed-tensors)."""
        if len(self.groups) < 2:
            return self.groups[0].words if self.groups else self.words
        found = next((group for group in self.groups if group.named(layer)), None)
        found = found or next((group for group in self.groups if group.by_class), None)
        return found.words if found else self.words


class _GroupConfig(msgspec.Struct):
    targets: tuple[str, ...] = ()
    weights: dict[str, object] | None = None


def _group(name: str, group: object, words: Mapping[str, object]) -> _Group:
    where = f"config.json, quantization_config.config_groups.{name}"
    try:
        config = msgspec.convert(group, _GroupConfig)
    except msgspec.ValidationError as e:
        raise CheckpointError(where, str(e), "compare it with the original's") from None
    for target in config.targets:
        if target.startswith("re:"):
            _check_pattern(target[3:], where)
    return _Group(config.targets, {**words, **(config.weights or {})})


def _check_pattern(pattern: str, where: str) -> None:
    slow = len(pattern) > _LONGEST_PATTERN or _REPEATED_GROUP.search(pattern)
    if slow or len(_REPETITION.findall(pattern)) > _MOST_REPETITIONS:
        found = f"the target {pattern!r} repeats more than deepgguf tries"
        raise CheckpointError(where, found, "name the layers by shorter patterns")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as e:
        raise CheckpointError(where, f"the target {pattern!r} is not a regular expression: {e}") from None
