"""What a family of models has and what each target makes of it: one module per model class, each with a `FAMILY`.

Every module in this folder that declares a FAMILY is one: a new family is a new module, and nothing else.
"""

import importlib
import pkgutil
from functools import cache

from deepgguf.errors import CheckpointError
from deepgguf.models.config_schema import JsonObject
from deepgguf.models.family import AnyFamily


@cache
def known_families() -> dict[str, AnyFamily]:
    """Every family by the name that config.json gives it."""
    modules = (importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    return {m.FAMILY.name: m.FAMILY for m in modules if hasattr(m, "FAMILY")}


def find_family(config: JsonObject, where: str) -> AnyFamily:
    """The family that `config` (config.json) names; CheckpointError if deepgguf knows none of its names."""
    named = config.get("architectures")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    known = known_families()
    for name in names:
        if name in known:
            return known[name]
    if not names:
        advice = "compare with the model's original config.json"
    elif any(name.lower().startswith("deepseek") for name in names):
        advice = "this version of deepgguf does not support this DeepSeek model"
    else:
        advice = "this model belongs to another family, and deepgguf converts DeepSeek models only"
    expected = f"expected one of {', '.join(sorted(known))}"
    raise CheckpointError(where, f"architectures is {named!r}, {expected}", advice)
