"""Which Ollama runs which files: what its engine knows, by the version that /api/version tells."""

import re

from deepgguf.errors import UsageError

# The first release that runs an architecture, by the llama.cpp that it was built with (its file LLAMA_CPP_VERSION):
# since 0.30.0 that runs every model but DeepSeek-OCR in Ollama's own layout, which Ollama has known since 0.13.0
# (commit 92981ae3f). deepseek32 is llama.cpp's pull request 23346 (end of May 2026; 0.30.9 has b9626 of June),
# deepseek4 is 24162 (June 29; 0.31.2 has b9888 of July).
_SINCE = {
    "deepseek2": (0, 30, 0),
    "deepseek2-ocr": (0, 30, 0),
    "deepseek32": (0, 30, 9),
    "deepseek4": (0, 31, 2),
    "deepseekocr": (0, 13, 0),
}
_NUMBERS = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_DEVELOPMENT = (0, 0, 0)


def required_version(architecture: str) -> str:
    """The first Ollama that runs files of this `general.architecture`; "" if nothing is known of it."""
    return ".".join(map(str, _SINCE[architecture])) if architecture in _SINCE else ""


def refuse_old_engine(version: str, architecture: str) -> None:
    """UsageError if an Ollama of this version does not know the architecture.

    Versions that nobody released (0.0.0, a commit's) are believed to know it.
    """
    numbers = _NUMBERS.match(version)
    found = tuple(map(int, numbers.groups())) if numbers else _DEVELOPMENT
    if found != _DEVELOPMENT and found < _SINCE.get(architecture, _DEVELOPMENT):
        what = f"this Ollama is {version}, and {architecture} runs since {required_version(architecture)}"
        raise UsageError("Ollama", what, "update Ollama, then run this again")
