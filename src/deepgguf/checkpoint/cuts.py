"""Experts that lie in one tensor, seen as the tensors of single experts: a cut copies nothing, it names byte ranges.

A stack is [experts, rows, columns], so an expert is a run of bytes, and so is the half of its rows that is gate or up.
Where rows and columns are exchanged, as in gpt-oss and Llama 4, or where both halves share a block of scales, a part is
no run of bytes of its own: then it is seen through `encodings.part.Part`.
"""

import re
from collections.abc import Iterator, Mapping
from math import prod

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

# Gate and up of one MLP in one matrix: what vLLM and SGLang hold, and save (model_executor/models/deepseek_v2.py).
_JOINED = re.compile(r"(.*\.mlp\.(?:shared_experts\.|experts\.\d{1,9}\.)?)gate_up_proj\.weight(.*)")

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
    """A stack of a layer, and its scales by what they add to its name.

    `parts` are what an expert's rows are, in their order, and have names that begin with `names`, where "{}" is its
    number.
    """

    names: str
    parts: tuple[str, ...]
    members: dict[str, tuple[TensorHeader, Blob]]

    @property
    def shape(self) -> tuple[int, ...]:
        """[experts, rows, columns]."""
        return self.members[""][0].shape

    def can_be_cut(self, *, turned: bool) -> bool:
        """Whether the parts have as many rows as each other, and every member whole bytes for each expert and part."""
        experts, parts = self.shape[0], len(self.parts)
        return self.shape[2 if turned else 1] % parts == 0 and all(
            header.shape[0] == experts and header.nbytes % experts == 0
            for header, _ in self.members.values()
            if prod(header.shape) > 1
        )

    @property
    def shares_blocks(self) -> bool:
        """Whether rows of both parts lie in one block of scales: then the number of blocks is odd."""
        heights = [header.shape[1] for header, _ in self.members.values() if len(header.shape) > 1]
        return any(height > 1 and height % len(self.parts) for height in heights)


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
    for stack in _joined(headers, blobs):
        if stack.can_be_cut(turned=False):
            cuts += _cuts(stack, turned=False)
    return cuts


def _joined(headers: Mapping[str, TensorHeader], blobs: Mapping[str, Blob]) -> list[_Stack]:
    """The matrices that hold gate and up of one MLP, each as a stack of one."""
    found: dict[str, _Stack] = {}
    for name, header in headers.items():
        m = _JOINED.fullmatch(name) if "gate_up_proj.weight" in name else None
        if m:
            one = msgspec.structs.replace(header, shape=(1, *header.shape))
            found.setdefault(m[1], _Stack(m[1], _GATE_UP, {})).members[m[2]] = (one, blobs[name])
    return [stack for stack in found.values() if "" in stack.members and len(stack.shape) == 3]


def _stacks(headers: Mapping[str, TensorHeader], blobs: Mapping[str, Blob]) -> dict[str, list[_Stack]]:
    """The stacks of every layer, by what stands before its number of an expert."""
    keys, found = tuple(STACKS), dict[tuple[str, str], _Stack]()
    for name, header in headers.items():
        before, mlp, after = name.rpartition(".mlp.")
        if mlp and after.startswith(keys):
            key = next(key for key in keys if after.startswith(key))
            stack = found.setdefault((before, key), _Stack(f"{before}{mlp}experts.{{}}.", STACKS[key], {}))
            stack.members[after.removeprefix(key).removeprefix(".weight")] = (header, blobs[name])
    layers: dict[str, list[_Stack]] = {}
    for stack in found.values():
        if "" in stack.members and len(stack.shape) == 3:
            layers.setdefault(stack.names, []).append(stack)
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
    height, length = (cols, rows) if turned else (rows, cols)
    height //= len(stack.parts)
    for expert in range(experts):
        for nth, part in enumerate(stack.parts):
            name, share, seen = f"{stack.names.format(expert)}{part}.weight", (nth, len(stack.parts)), None
            if turned or stack.shares_blocks:
                share, seen = (0, 1), Seen((height, length), nth * height, cols if turned else 0)
            for ending, (header, blob) in stack.members.items():
                shape, place = _share(header.shape, blob, (expert, experts), share)
                made = TensorHeader(name + ending, header.dtype, shape, place.offset, place.nbytes)
                yield Cut(made, place, header.name, None if ending else seen)


def _share(
    shape: tuple[int, ...], blob: Blob, expert: tuple[int, int], part: tuple[int, int]
) -> tuple[tuple[int, ...], Blob]:
    """Of one of so many experts, one of so many parts of the rows; one row or one number is for all."""
    if prod(shape) == 1:
        return (1,) * len(shape[1:]) or (1,), blob
    nbytes, shape = blob.nbytes // expert[1], shape[1:] or (1,)
    start = blob.offset + expert[0] * nbytes
    if shape[0] % part[1] == 0:
        shape, nbytes = (shape[0] // part[1], *shape[1:]), nbytes // part[1]
        start += part[0] * nbytes
    return shape, Blob(blob.file, start, nbytes)
