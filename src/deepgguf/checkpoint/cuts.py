"""Experts that lie in one tensor, seen as the tensors of single experts: a cut copies nothing, it names byte ranges.

A stack is [experts, rows, columns], so an expert is a run of bytes, and so is the half of its rows that is gate or up.
Where rows and columns are exchanged, as in gpt-oss and Llama 4, or where both halves share a block of scales, a part is
no run of bytes of its own: then it is seen through `encodings.part.Part`.
"""

from collections.abc import Iterator, Mapping

import msgspec

from deepgguf.errors import CheckpointError
from deepgguf.formats.safetensors import TensorHeader
from deepgguf.tensors.source_tensor import Blob

_GATE_UP, _GATE, _UP, _DOWN = ("gate_proj", "up_proj"), ("gate_proj",), ("up_proj",), ("down_proj",)

# What each stack is called within "….mlp." (".weight" may follow), and whose rows it has, in their order: transformers
# (integrations/moe.py; conversion_mapping.py is where checkpoints of single experts become such), MLX (mlx_lm,
# models/switch_layers.py), vLLM (fused_moe/layer.py).
STACKS: Mapping[str, tuple[str, ...]] = {
    "experts.gate_up_proj": _GATE_UP,
    "experts.gate_proj": _GATE,
    "experts.up_proj": _UP,
    "experts.down_proj": _DOWN,
    "switch_mlp.gate_up_proj": _GATE_UP,
    "switch_mlp.gate_proj": _GATE,
    "switch_mlp.up_proj": _UP,
    "switch_mlp.down_proj": _DOWN,
    "experts.w13_weight": _GATE_UP,
    "experts.w2_weight": _DOWN,
}

MOST_PARTS = 1 << 20  # of all stacks; DeepSeek-V3 has 44,544


class Seen(msgspec.Struct, frozen=True, gc=False):
    """How a part that is no run of bytes lies in the matrix of its expert: as rows [first, first + shape[0]) of it.

    With `turned` they are columns, of the `turned` that the matrix has.
    """

    shape: tuple[int, int]
    first: int
    turned: int = 0


class Cut(msgspec.Struct, frozen=True, gc=False):
    """A tensor of one expert, or its scales: its header and bytes, and the name of what it is cut from.

    `seen`: what of it is the expert's, if not all.
    """

    header: TensorHeader
    blob: Blob
    member: str
    seen: Seen | None = None


class _Stack(msgspec.Struct, frozen=True):
    """A stack of the layer whose `mlp` is so called, by its `key` in STACKS; scales by what they add to its name."""

    mlp: str
    key: str
    members: dict[str, tuple[TensorHeader, Blob]]

    @property
    def shape(self) -> tuple[int, ...]:
        """[experts, rows, columns]."""
        return self.members[""][0].shape

    @property
    def parts(self) -> tuple[str, ...]:
        """What an expert's rows are, in their order."""
        return STACKS[self.key]

    def can_be_cut(self, *, turned: bool) -> bool:
        """Whether all members have the same experts, in whole bytes, and the parts have as many rows as each other."""
        return self.shape[2 if turned else 1] % len(self.parts) == 0 and all(
            header.shape[:1] in ((), self.shape[:1]) and header.nbytes % (self.shape[0] * len(self.parts)) == 0
            for header, _ in self.members.values()
            if header.shape
        )


def cut_stacks(headers: Mapping[str, TensorHeader], blobs: Mapping[str, Blob], hidden_size: object) -> list[Cut]:
    """The parts of all stacks, called as in checkpoints of single experts; none without stacks.

    `headers` and `blobs` are by name, `hidden_size` is what config.json says: it tells rows from columns. Where both
    are as long, the layer's other stack tells, else they are as transformers has them. A stack that cannot be cut is
    left as it is. CheckpointError for more than MOST_PARTS.
    """
    cuts: list[Cut] = []
    layers = _stacks(headers, blobs)
    parts = sum(stack.shape[0] * len(stack.parts) for stacks in layers.values() for stack in stacks)
    if parts > MOST_PARTS:
        found = f"its stacks hold {parts:,} tensors of experts, more than the {MOST_PARTS:,} that are allowed"
        raise CheckpointError("the checkpoint", found)
    for stacks in layers.values():
        said = [_turned(stack, hidden_size) for stack in stacks]
        default = next((turned for turned in said if turned is not None), False)
        for stack, turned in zip(stacks, said, strict=True):
            turned = default if turned is None else turned
            if stack.can_be_cut(turned=turned):
                cuts += _cuts(stack, turned=turned)
    return cuts


def _stacks(headers: Mapping[str, TensorHeader], blobs: Mapping[str, Blob]) -> dict[str, list[_Stack]]:
    """The stacks of every layer, by the name of its `mlp`; the longest key that fits is a stack's."""
    keys, found = tuple(STACKS), dict[tuple[str, str], _Stack]()
    for name, header in headers.items():
        before, mlp, after = name.rpartition(".mlp.")
        if mlp and after.startswith(keys):
            key = next(key for key in keys if after.startswith(key))
            stack = found.setdefault((before, key), _Stack(before + mlp, key, {}))
            stack.members[after.removeprefix(key).removeprefix(".weight")] = (header, blobs[name])
    layers: dict[str, list[_Stack]] = {}
    for stack in found.values():
        if "" in stack.members and len(stack.shape) == 3:
            layers.setdefault(stack.mlp, []).append(stack)
    return layers


def _turned(stack: _Stack, hidden_size: object) -> bool | None:
    """Whether rows and columns are exchanged; None if that cannot be told."""
    _, rows, cols = stack.shape
    if stack.parts == _DOWN:
        rows, cols = cols, rows
    return None if (rows == hidden_size) == (cols == hidden_size) else rows == hidden_size


def _cuts(stack: _Stack, *, turned: bool) -> Iterator[Cut]:
    """Every part and its scales, by expert."""
    experts, rows, cols = stack.shape
    width, count = (cols, rows) if turned else (rows, cols), len(stack.parts)
    shared = any(len(h.shape) > 1 and h.shape[1] > 1 and h.shape[1] % count for h, _ in stack.members.values())
    height, length = width[0] // count, width[1]
    for expert in range(experts):
        for nth, part in enumerate(stack.parts):
            name = f"{stack.mlp}experts.{expert}.{part}.weight"
            seen = Seen((height, length), nth * height, cols if turned else 0) if turned or shared else None
            for ending, (header, blob) in stack.members.items():
                share = (0, 1) if seen else (nth, count)
                made, place = _piece(header, blob, (expert, experts), share, name + ending)
                yield Cut(made, place, header.name, seen if not ending else None)


def _piece(
    header: TensorHeader, blob: Blob, expert: tuple[int, int], share: tuple[int, int], name: str
) -> tuple[TensorHeader, Blob]:
    """Of one of so many experts, one of so many shares of the rows; what has one row, or one for all, is shared."""
    if not header.shape:
        return msgspec.structs.replace(header, name=name), blob
    nbytes = header.nbytes // expert[1]
    start, shape = blob.offset + expert[0] * nbytes, header.shape[1:] or (1,)
    if share[1] > 1 and shape[0] % share[1] == 0:
        nbytes //= share[1]
        start, shape = start + share[0] * nbytes, (shape[0] // share[1], *shape[1:])
    return TensorHeader(name, header.dtype, shape, start, nbytes), Blob(blob.file, start, nbytes)
