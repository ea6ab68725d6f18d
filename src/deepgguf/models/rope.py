"""Rotary positions: what config.json says of them, and the keys by which the engines compute the same.

The definitions are transformers' (5.24: modeling_rope_utils.py; modeling_deepseek_v3.py, yarn_apply_mscale) and those
of DeepSeek's own modeling_deepseek.py, which agree on every published DeepSeek.
"""

import math
from collections.abc import Iterator
from typing import Annotated

import msgspec

from deepgguf.errors import CheckpointError
from deepgguf.models.config_schema import JsonObject, Positive, PositiveFloat, json_object, to_config

# What an engine does with YaRN, whatever the file says: deepseek2.cpp reads no key of the betas, which are these.
ENGINE_BETAS = (32.0, 1.0)

_AT_LEAST_1 = Annotated[float, msgspec.Meta(ge=1, lt=1e30)]
_NOT_NEGATIVE = Annotated[float, msgspec.Meta(ge=0, lt=1e30)]

# rope_type in config.json to the type of the engines; "deepseek_yarn" is vLLM's name for DeepSeek's own YaRN.
_TYPES = {"yarn": "yarn", "deepseek_yarn": "yarn", "linear": "linear"}
_PER_FREQUENCY = "it has a factor for every frequency, and the engines' deepseek2 reads none"
_NO_KEY = {
    "dynamic": "its frequencies depend on the length of the text, for which GGUF has no key; up to "
    "max_position_embeddings it changes nothing, so set it to null to convert for texts up to that length",
    "longrope": _PER_FREQUENCY,
    "su": _PER_FREQUENCY,
    "llama3": _PER_FREQUENCY,
}


class Scaling(msgspec.Struct, frozen=True):
    """How positions are stretched: "linear", or "yarn" (arXiv 2309.00071), by `factor`.

    `rotation` multiplies cos and sin; `attention`, squared, the scores. `mscale_all_dim` is 0 where there is none.
    `doubt`: where transformers and DeepSeek's own code compute otherwise, the other's `rotation`.
    """

    type: str
    factor: float
    original: int
    rotation: float
    attention: float
    mscale_all_dim: float
    betas: tuple[float, float] = ENGINE_BETAS
    truncate: bool = True
    doubt: float | None = None


class _Given(msgspec.Struct, frozen=True):
    """The fields of rope_scaling, under their own names."""

    factor: _AT_LEAST_1 | None = None
    original_max_position_embeddings: Positive | None = None
    attention_factor: PositiveFloat | None = None
    beta_fast: PositiveFloat | None = None
    beta_slow: PositiveFloat | None = None
    mscale: _NOT_NEGATIVE | None = None
    mscale_all_dim: _NOT_NEGATIVE | None = None
    truncate: bool | None = None


class _Beside(msgspec.Struct, frozen=True):
    """What may stand beside rope_scaling instead of in it."""

    original_max_position_embeddings: Positive | None = None


_FIELDS = {"type", "rope_type", "rope_theta", *_Given.__struct_fields__}


def rope_object(raw: JsonObject, where: str) -> tuple[str, JsonObject]:
    """`rope_scaling` (transformers 4) or `rope_parameters` (5), and its name; the first that is not empty counts."""
    for key in ("rope_scaling", "rope_parameters"):
        if raw.get(key):
            return key, json_object(raw[key], where, key)
    return "rope_parameters", {}


def unread_rope(raw: JsonObject, where: str) -> Iterator[str]:
    """What is said of rotary positions and not read."""
    key, given = rope_object(raw, where)
    yield from (f"{key}.{name}" for name, value in given.items() if name not in _FIELDS and value is not None)
    if key == "rope_scaling" and raw.get("rope_parameters") not in (None, {}, given):
        yield "rope_parameters, since there is rope_scaling"


def parse_scaling(raw: JsonObject, longest: int, where: str) -> Scaling | None:
    """How the positions of a model of at most `longest` positions are stretched; None if they are not."""
    key, given = rope_object(raw, where)
    kind = given.get("rope_type", given.get("type"))
    if kind in (None, "default"):
        return None
    if not isinstance(kind, str) or kind not in _TYPES:
        reason = _NO_KEY.get(str(kind), "no other one is known to have a key that the engines' deepseek2 reads")
        raise CheckpointError(where, f"{key}.type is {kind!r}, expected {' or '.join(map(repr, _TYPES))}", reason)
    fields = to_config(given, {}, _Given, f"{where}: {key}")
    beside = to_config(raw, {}, _Beside, where).original_max_position_embeddings
    if fields.factor is None:
        fields = msgspec.structs.replace(fields, factor=_factor_left_out(fields, longest, f"{where}: {key}"))
    found = _scaling(kind, fields, fields.original_max_position_embeddings or beside or longest)
    if found.factor == 1 and found.rotation != 1:
        reason = "the engines scale cos and sin only where factor is more than 1"
        raise CheckpointError(f"{where}: {key}", f"attention_factor is {found.rotation:g} with factor 1", reason)
    return found


def _factor_left_out(fields: _Given, longest: int, where: str) -> float:
    """As transformers 5 fills it in."""
    original = fields.original_max_position_embeddings
    if original is None or original > longest:
        raise CheckpointError(where, "factor is missing, expected a number of at least 1", "add it")
    return longest / original


def _scaling(kind: str, fields: _Given, original: int) -> Scaling:
    factor, all_dim = fields.factor or 1.0, fields.mscale_all_dim or 0.0
    attention = _mscale(factor, all_dim)
    if kind == "linear":
        return Scaling("linear", factor, original, 1.0, attention, all_dim)
    deepseek = _mscale(factor, 1.0 if fields.mscale is None else fields.mscale) / _mscale(factor, all_dim)
    transformers = deepseek if fields.mscale and all_dim else _mscale(factor, 1.0)
    ours, other = (transformers, deepseek) if kind == "yarn" else (deepseek, transformers)
    doubt = None if math.isclose(ours, other) else other
    if fields.attention_factor is not None:
        ours, doubt = fields.attention_factor, None
    betas = (fields.beta_fast or ENGINE_BETAS[0], fields.beta_slow or ENGINE_BETAS[1])
    return Scaling("yarn", factor, original, ours, attention, all_dim, betas, fields.truncate is not False, doubt)


def _mscale(factor: float, mscale: float) -> float:
    return 1.0 + 0.1 * mscale * math.log(factor)


def engine_factors(s: Scaling) -> tuple[float | None, float | None]:
    """The values of rope.scaling.attn_factor and yarn_log_multiplier; None for a key that must be absent.

    With L = ln(factor), A the first (1 if absent) and Y ten times the second, the engine multiplies cos and sin, and
    the root of the scores, by (llama-context.cpp, yarn_attn_factor; deepseek2.cpp, kq_scale; ops.cpp, rope_yarn):

        yarn                A                   A (1 + Y L / 10)
        yarn without Y      A (1 + L / 10)      A (1 + L / 10)
        linear              A                   A (1 + L / 10) (1 + Y L / 10)
    """
    log, plain = math.log(s.factor), 0.1 * s.mscale_all_dim
    own = _mscale(s.factor, 1.0)
    if log == 0:
        return None, plain or None
    if s.type == "linear":
        return None, (s.attention / own - 1) / log or None
    if s.rotation == 1 and plain:
        return None, plain
    if math.isclose(s.attention, s.rotation):
        return (None if math.isclose(s.rotation, own) else s.rotation / own), None
    return (None if s.rotation == 1 else s.rotation), (s.attention / s.rotation - 1) / log


def scaling_limits(s: Scaling, dimensions: int, theta: float) -> Iterator[str]:
    """Sentences about what the engines compute otherwise, with `dimensions` rotated ones."""
    if s.doubt is not None:
        yield (
            "mscale or mscale_all_dim is missing or 0, where transformers and DeepSeek's own code disagree: "
            f"cos and sin are multiplied by {s.rotation:.4g}, not by {s.doubt:.4g}; an attention_factor would decide"
        )
    model, engine = _ramp(s, s.betas, dimensions, theta), _ramp(_truncated(s), ENGINE_BETAS, dimensions, theta)
    if s.type == "yarn" and model != engine:
        yield (
            f"YaRN's betas are {s.betas[0]:g} and {s.betas[1]:g}, but the engines' deepseek2 has no key for them: it "
            f"fades between the frequencies {engine[0]:g} and {engine[1]:g}, the model between {model[0]:g} and "
            f"{model[1]:g}; run llama.cpp with --yarn-beta-fast {s.betas[0]:g} --yarn-beta-slow {s.betas[1]:g}"
        )


def _truncated(s: Scaling) -> Scaling:
    return msgspec.structs.replace(s, truncate=True)


def _ramp(s: Scaling, betas: tuple[float, float], dimensions: int, theta: float) -> tuple[float, float]:
    """Between which frequencies YaRN fades from none to all of its stretching (ggml.c, ggml_rope_yarn_corr_dims)."""
    if theta == 1:
        return 0.0, 0.0
    low, high = (dimensions * math.log(s.original / (b * 2 * math.pi)) / (2 * math.log(theta)) for b in betas)
    if s.truncate:
        low, high = math.floor(low), math.ceil(high)
    return max(low, 0), min(high, dimensions - 1)
