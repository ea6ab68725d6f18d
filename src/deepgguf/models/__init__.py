"""What a family of models has and what each target makes of it: one module per model class, each with a `FAMILY`.

Every module in this folder that declares a FAMILY is one: a new family is a new module, and nothing else.
"""

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache

from deepgguf.checkpoint.diagnosis import other_model
from deepgguf.checkpoint.nested_config import levels
from deepgguf.errors import CheckpointError
from deepgguf.models.config_schema import JsonObject
from deepgguf.models.family import AnyFamily


@cache
def known_families() -> dict[str, AnyFamily]:
    """Every family by the name that config.json gives it."""
    modules = (importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    return {m.FAMILY.name: m.FAMILY for m in modules if hasattr(m, "FAMILY")}


@cache
def _named_otherwise() -> dict[str, AnyFamily]:
    """Every family by its other architectures and model types."""
    families = known_families().values()
    return {name: family for family in families for name in (family.model_type, *family.also) if name}


def find_family(config: JsonObject, where: str) -> AnyFamily:
    """The family that `config` (config.json) names; CheckpointError if deepgguf knows none of its names.

    `architectures` decides, or `model_type` where it is missing or names what a trainer wrapped around the model; also
    in the object with a wrapper's language model.
    """
    found = _named_family(config)
    if found:
        return found
    types = [str(level["model_type"]) for level in levels(config) if level.get("model_type")]
    names = [name for level in levels(config) for name in _architectures(level)] + types
    expected = f"expected one of {', '.join(sorted(known_families()))}"
    raise CheckpointError(where, f"architectures is {config.get('architectures')!r}, {expected}", other_model(names))


def _named_family(config: JsonObject) -> AnyFamily | None:
    """The outermost that is known; what lies within a DeepSeek model that is not is only a part of it."""
    others = _named_otherwise()
    known = others | known_families()
    for level in levels(config):
        names = _architectures(level)
        family = next((known[name] for name in map(_with_head, names) if name in known), None)
        if family or _any_deepseek(names):
            variant = known.get(str(level.get("model_type")))
            return variant if family and variant and variant.variant_of == family.name else family
        if str(level.get("model_type")) in others:
            return others[str(level["model_type"])]
    return None


def _architectures(config: JsonObject) -> list[str]:
    named = config.get("architectures")
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def _with_head(name: str) -> str:
    """AutoModel saves a model without its head, under the name of a class of its own."""
    return f"{name.removesuffix('Model')}ForCausalLM" if name.endswith("Model") else name


def _any_deepseek(names: Iterable[str]) -> bool:
    return any(name.lower().startswith("deepseek") for name in names)
