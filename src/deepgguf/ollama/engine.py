"""Which Ollama runs which files: what its engine knows, by the version that /api/version tells."""

import re
from collections.abc import Mapping

from deepgguf.errors import UsageError
from deepgguf.formats.gguf.types import Value

# The first release that runs an architecture, by the llama.cpp that it was built with (its file LLAMA_CPP_VERSION):
# since 0.30.0 that runs every model but DeepSeek-OCR in Ollama's own layout, which Ollama has known since 0.13.0
# (commit 92981ae3f). deepseek32 is llama.cpp's pull request 23346 (end of May 2026; 0.30.9 has b9626 of June),
# deepseek4 is 24162 (June 29; 0.31.2 has b9888 of July).
_SINCE = {
    "deepseek": (0, 30, 0),
    "deepseek2": (0, 30, 0),
    "deepseek2-ocr": (0, 30, 0),
    "deepseek32": (0, 30, 9),
    "deepseek4": (0, 31, 2),
    "deepseekocr": (0, 13, 0),
}
# Projectors of mmproj files, and the last release that was read and does not know them (its llama.cpp is b10488).
_UNKNOWN_TO = {"deepseek4v": (0, 32, 15)}
_NUMBERS = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_DEVELOPMENT = (0, 0, 0)


def required_version(architecture: str) -> str:
    """The first Ollama that runs files of this `general.architecture`; "" if nothing is known of it."""
    return ".".join(map(str, _SINCE[architecture])) if architecture in _SINCE else ""


def projector_of(keys: Mapping[str, Value]) -> str:
    """What an mmproj with these keys sees with; "" if it is none."""
    found = keys.get("clip.projector_type") or keys.get("clip.vision.projector_type")
    return str(found.value) if found else ""


def refuse_old_engine(version: str, architecture: str, projector: str = "") -> None:
    """UsageError if an Ollama of this version does not know the architecture, or what the mmproj sees with.

    Versions that nobody released (0.0.0, a commit's) are believed to know all.
    """
    numbers = _NUMBERS.match(version)
    found = tuple(map(int, numbers.groups())) if numbers else _DEVELOPMENT
    if found != _DEVELOPMENT and found <= _UNKNOWN_TO.get(projector, _DEVELOPMENT):
        what = f"this Ollama is {version}, which does not know the projector {projector}"
        raise UsageError("Ollama", what, 'update Ollama, or leave the mmproj out: `only="text"`')
    if found != _DEVELOPMENT and found < _SINCE.get(architecture, _DEVELOPMENT):
        what = f"this Ollama is {version}, and {architecture} runs since {required_version(architecture)}"
        raise UsageError("Ollama", what, "update Ollama, then run this again")
