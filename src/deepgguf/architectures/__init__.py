"""What a checkpoint has: one module per model class of Hugging Face, each with an `ARCHITECTURE`.

An architecture is found by being here: a new one is a new module, and nothing else is touched.
"""

import importlib
import pkgutil
from functools import cache

from deepgguf.architectures.architecture import Architecture
from deepgguf.architectures.config_schema import JsonObject
from deepgguf.errors import CheckpointError


@cache
def known_architectures() -> dict[str, Architecture]:
    """Every architecture by the name that config.json gives it."""
    modules = (importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    found = [m.ARCHITECTURE for m in modules if hasattr(m, "ARCHITECTURE")]
    return {architecture.name: architecture for architecture in found}


def find_architecture(config: JsonObject, where: str) -> Architecture:
    """The architecture that `config` (config.json) names; CheckpointError if it is none that deepgguf knows."""
    names = config.get("architectures")
    known = known_architectures()
    for name in names if isinstance(names, list) else []:
        if isinstance(name, str) and name in known:
            return known[name]
    expected = f"expected one of {', '.join(sorted(known))}"
    raise CheckpointError(where, f"architectures is {names!r}, {expected}", "deepgguf converts DeepSeek models only")
