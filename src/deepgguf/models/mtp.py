"""Layers of multi-token prediction (DeepSeek-V3, section 2.2): whether a file keeps them, and who can."""

import re
from collections.abc import Iterable, Mapping

from deepgguf.choices import Mtp
from deepgguf.errors import UsageError
from deepgguf.models.family import AnyFamily
from deepgguf.models.table import Part

# The parts of a model that each choice keeps.
KEPT: Mapping[Mtp, frozenset[Part]] = {
    "drop": frozenset({Part.TRUNK, Part.BOTH}),
    "keep": frozenset(Part),
    "only": frozenset({Part.MTP, Part.BOTH}),
}
MTP_DROPPED = "multi-token prediction (MTP) layers"
TRUNK_DROPPED = "not part of a file of MTP layers"
# What every such layer has beside a block's tensors, and a block has not.
_OWN = re.compile(r"(.*\blayers\.(\d{1,9}))\.(enorm|hnorm|eh_proj)\..*")
_OF_A_LAYER = re.compile(r"(.*\blayers\.(\d{1,9}))\..*")
# What the engine's draft takes (deepseek2.cpp, deepseek32.cpp, deepseek4.cpp: graph_mtp asserts it).
_ENGINE_LAYERS = 1


def possible_mtp(family: AnyFamily, target: str, asked: Mtp | None) -> Mtp:
    """What was asked for, or what the reference converter does; UsageError if no file for `target` can be like that."""
    choices = family.targets[target].mtp
    mtp = asked or choices[0]
    if mtp in choices:
        return mtp
    able = [f'`target="{name}"`' for name, other in sorted(family.targets.items()) if mtp in other.mtp]
    advice = " or ".join([*able, '`mtp="drop"`'])
    found = f"{mtp!r} is not possible for {target}: its engine cannot use the MTP layers of a {family.name}"
    raise UsageError("`mtp`", found, f"choose {advice}")


def not_of_mtp(names: Iterable[str]) -> tuple[int, str] | None:
    """The last layer whose tensors, among `names`, have none of what joins MTP layers to a model, and one of these."""
    names = list(names)
    own = {m[1] for m in map(_OWN.fullmatch, names) if m}
    others = [(int(m[2]), m[0]) for m in map(_OF_A_LAYER.fullmatch, names) if m and m[1] not in own]
    return max(others, default=None, key=lambda other: other[0])


def require_mtp(asked: Mtp | None, layers: int) -> None:
    """UsageError if MTP layers are asked for of a checkpoint that has none."""
    if asked in ("keep", "only") and not layers:
        found = f"{asked!r} is not possible: config.json promises no MTP layers, or no shard holds a tensor of them"
        raise UsageError("`mtp`", found, "leave it out")


def mtp_warnings(layers: int) -> tuple[str, ...]:
    """More layers than the engine drafts with."""
    if layers <= _ENGINE_LAYERS:
        return ()
    return (f"llama.cpp drafts with one MTP layer, and this model has {layers}: it will not draft with this file",)
