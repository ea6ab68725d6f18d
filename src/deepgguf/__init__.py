"""DeepSeek checkpoints to GGUF files for Ollama and llama.cpp, in one pass, with proof.

    plan(source, ...)             what a conversion would write, drop and need; nothing is written
    convert(source, output, ...)  carries the plan out
    inspect(path)                 what a GGUF file says of itself
    verify(path, source)          whether it is what its source makes
    sample(kind, folder, ...)     a small checkpoint with real structure and made-up weights

Every error is a `deepgguf.errors.DeepggufError` whose text names file, tensor or key.
"""

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
