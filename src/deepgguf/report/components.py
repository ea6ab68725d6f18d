"""Which part of a model a tensor is, by its name in a GGUF file: the names of llama.cpp and of Ollama's converter."""

import re
from functools import lru_cache
from typing import NamedTuple

from deepgguf.formats.gguf.types import MAX_TENSORS

_OTHER = "other"
# The first that matches counts (llama.cpp, llama-arch.cpp and clip-impl.h; Ollama, convert_deepseekocr.go). Their order
# is that of a page too.
_COMPONENTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("vision", r"^(v|s|mm)\."),
        ("multi-token prediction", r"\bnextn\b|^mtp\b"),
        ("routed experts", r"_exps\b"),
        ("shared experts", r"_shexp\b"),
        ("router", r"ffn_gate_inp|exp_probs_b|tid2eid"),
        ("hyper-connections", r"(^|[._])hc_"),
        ("indexer", r"\bindexer"),
        ("norms", r"norm"),
        ("dense layers", r"\bffn_(gate|up|down)\b"),
        ("attention", r"\battn"),
        ("output", r"^output\b"),
        ("embedding", r"^token_embd\b"),
    )
)
# Of these every tensor is small, so that one line for all of them is enough.
_TOGETHER = frozenset({"norms", "router", "hyper-connections"})
_BLOCK = re.compile(r"^((?:[a-z]+\.)?)blk\.(\d{1,6})\.")
_KIND = re.compile(r"\.(weight|bias)$")


class Place(NamedTuple):
    """Where a tensor belongs: `role` is its name without block and kind; `block` None if it is in none."""

    component: str
    role: str
    block: int | None


@lru_cache(MAX_TENSORS)
def place_of(name: str) -> Place:
    """The place of the tensor called `name`."""
    component = next((found for found, pattern in _COMPONENTS if pattern.search(name)), _OTHER)
    block = _BLOCK.match(name)
    role = _KIND.sub("", f"{block[1]}{name[block.end() :]}" if block else name)
    return Place(component, component if component in _TOGETHER else role, int(block[2]) if block else None)


def order_of(component: str) -> int:
    """Where a component stands among the others."""
    names = [name for name, _ in _COMPONENTS]
    return names.index(component) if component in names else len(names)
