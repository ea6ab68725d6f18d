"""DeepSeek checkpoints to GGUF files for Ollama and llama.cpp, in one pass, with proof.

    plan(source, ...)             what a conversion would write, drop and need; nothing is written
    convert(source, output, ...)  carries the plan out
    inspect(path)                 what a GGUF file says of itself
    verify(path, source)          whether it is what its source makes
    sample(kind, folder, ...)     a small checkpoint with real structure and made-up weights

Every error is a `deepgguf.errors.DeepggufError` whose text names file, tensor or key.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from deepgguf.version import __version__

if TYPE_CHECKING:
    from deepgguf.api import convert, inspect, plan, sample, verify

__all__ = ["__version__", "convert", "inspect", "plan", "sample", "verify"]


def __getattr__(name: str) -> object:
    """The functions, imported when first used: `import deepgguf` costs nothing."""
    if name in __all__:
        from deepgguf import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Package(ModuleType):
    """Keeps the functions' names from the packages `deepgguf.plan` and `deepgguf.verify` when these are imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
