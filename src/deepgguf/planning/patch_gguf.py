"""A GGUF source with other keys, or with attention cut as llama.cpp wants it; its weights are not quantized anew."""

from collections.abc import Mapping, Sequence

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.gguf_source import ARCHITECTURE, GGUFSource
from deepgguf.encodings import PLAIN
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.encode import encode_header, lay_out
from deepgguf.formats.gguf.split_set import LAYOUT_KEYS
from deepgguf.formats.gguf.types import ALIGNMENT, GGMLType, TensorInfo, Value, ValueType
from deepgguf.models import find_family
from deepgguf.models.family import KeyFacts
from deepgguf.models.match import Matched, Model
from deepgguf.planning.arrange_gguf import arranged
from deepgguf.planning.carried import carried, stored_type, written_shape
from deepgguf.planning.chat import with_what_it_lacks
from deepgguf.planning.key_overrides import is_fixed
from deepgguf.planning.options import Options
from deepgguf.planning.quantize_gguf import engine_of
from deepgguf.planning.schema import Plan, PlannedTensor
from deepgguf.planning.sized_file import sized_file
from deepgguf.planning.split import cut_file
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.tensors.view import View

ROOM = "deep.room"
"""A key that fills what a header has left, so that the data stay where they are."""

PATCH = "patch"
"""What the manifest of a file with other keys calls its type."""

_ROOM_BYTES = 8 + len(ROOM) + 4 + 8  # of the key with an empty text
_KV_B = ".attn_kv_b.weight"
# What a checkpoint knows better than a file that was made of it by others; of its other keys only absent ones are set.
_TOKENIZER = ("tokenizer.chat_template", "tokenizer.ggml.pre", "tokenizer.ggml.add_")
_TOKEN_IDS = ("_token_id", "_token_ids")
_SAME_MODEL = ("block_count", "embedding_length", "expert_count")


class Patch(msgspec.Struct, frozen=True):
    """What is to become of a file: keys that are set, in their order, and keys that go; another architecture's name;
    `split_kv_b`: attn_kv_b as attn_k_b and attn_v_b (multi-head latent attention, as llama.cpp's converter cuts it).
    """

    set: Mapping[str, Value] = {}
    removed: tuple[str, ...] = ()
    architecture: str | None = None
    split_kv_b: bool = False


def plan_patch(source: GGUFSource, patch: Patch, name: str) -> Plan:
    """The plan of new files with the patch, as many as there are."""
    keys = {key: value for key, value in patched_keys(source, patch).items() if key not in LAYOUT_KEYS}
    groups = [[made for tensor in tensors for made in _made(tensor, source, patch)] for tensors in source.tensors()]
    infos = iter(lay_out((made.name, made.type, made.shape) for group in groups for made in group))
    placed = [tuple(_placed(next(infos), made) for made in group) for group in groups]
    whole = sized_file(name, "text", keys, tuple(tensor for group in placed for tensor in group))
    plan = arranged(source, cut_file(whole, placed) if len(placed) > 1 else [whole])
    return msgspec.structs.replace(plan, type=PATCH)


def header_in_place(source: GGUFSource, patch: Patch) -> bytes:
    """The first file's header with the patch, of the same length; UsageError if it cannot be."""
    if patch.split_kv_b:
        raise UsageError("`split_kv_b`", "moves weights, which cannot be done in place", "give a new file as `output`")
    header = source.headers[0]
    if header.alignment != ALIGNMENT:
        found = (
            f"its data are aligned to {header.alignment} bytes, and a header that is changed in place to {ALIGNMENT}"
        )
        raise UsageError(source.name, found, "give a new file as `output`")
    keys = {key: value for key, value in patched_keys(source, patch).items() if key != ROOM}
    made = encode_header(keys, header.tensors)
    room = header.data_offset - len(made)
    if room >= _ROOM_BYTES:
        made = encode_header({**keys, ROOM: Value(ValueType.STRING, " " * (room - _ROOM_BYTES))}, header.tensors)
    if len(made) != header.data_offset:
        found = f"the new header has {len(made):,} bytes, and there is room for {header.data_offset:,}"
        raise UsageError(source.name, found, "give a new file as `output`")
    return made


def patched_keys(source: GGUFSource, patch: Patch) -> dict[str, Value]:
    """The keys in their order; what is set anew keeps its place, what is new comes last."""
    missing = [key for key in patch.removed if key not in source.keys]
    if missing:
        raise UsageError("`remove_key`", f"the file has no key {missing[0]}", "look at its keys with `inspect`")
    if fixed := next(filter(is_fixed, patch.removed), None):
        raise UsageError("`remove_key`", f"{fixed} cannot be removed: the file's layout follows it", "leave it out")
    keys = {key: value for key, value in source.keys.items() if key not in patch.removed} | dict(patch.set)
    if patch.split_kv_b:
        keys |= _split_keys(keys)
    if patch.architecture is None:
        return keys
    old = f"{source.architecture}."
    new = {_renamed(key, old, f"{patch.architecture}."): value for key, value in keys.items()}
    return new | {ARCHITECTURE: Value(ValueType.STRING, patch.architecture)}


def checkpoint_keys(source: GGUFSource, checkpoint: Checkpoint) -> dict[str, Value]:
    """What the small files of a checkpoint say of the model that the file lacks, or has otherwise than they.

    UsageError if they are another model's.
    """
    engine = engine_of(source, None)
    file = engine.target.files[engine.kind]
    family = find_family(checkpoint.config, "config.json")
    config = family.parse(checkpoint.config, "config.json")
    complete = with_what_it_lacks(checkpoint, Model(family, config, Matched((), {})), Options())
    layers = source.number("nextn_predict_layers") or 0
    keys = (
        family.targets[engine.name]
        .files[engine.kind]
        .keys(config, KeyFacts(complete, file.architecture, (), (1, 1, 0, 0), layers))
    )
    for name in _SAME_MODEL:
        key = f"{file.architecture}.{name}"
        if key in keys and key in source.keys and keys[key].value != source.keys[key].value:
            found = f"{key} is {keys[key].value} by its config.json, and {source.keys[key].value} in the file"
            raise UsageError("`checkpoint`", found, "give the checkpoint that the file was made of")
    return {key: value for key, value in keys.items() if _is_wanted(key, value, source, file.architecture)}


def _is_wanted(key: str, value: Value, source: GGUFSource, architecture: str) -> bool:
    has = source.keys.get(key)
    if key.startswith(_TOKENIZER) or (key.startswith("tokenizer.") and key.endswith(_TOKEN_IDS)):
        return has is None or has.value != value.value
    return has is None and key.startswith(f"{architecture}.")


def _renamed(key: str, old: str, new: str) -> str:
    return new + key.removeprefix(old) if key.startswith(old) else key


def _split_keys(keys: Mapping[str, Value]) -> dict[str, Value]:
    """One head of keys of rank + rope dimensions, one of values of rank, and what each of the heads has
    (conversion/deepseek.py).
    """
    sizes = _Sizes.of(keys)
    new = {
        "attention.head_count_kv": 1,
        "attention.key_length": sizes.rank + sizes.rope,
        "attention.value_length": sizes.rank,
        "attention.key_length_mla": sizes.key,
        "attention.value_length_mla": sizes.value,
    }
    return {f"{sizes.architecture}.{name}": Value(ValueType.UINT32, number) for name, number in new.items()}


class _Sizes(msgspec.Struct, frozen=True):
    """What a file without MLA keys says of its attention: heads, the dimensions of a head's keys and values, rank."""

    architecture: str
    heads: int
    key: int
    value: int
    rank: int
    rope: int

    @classmethod
    def of(cls, keys: Mapping[str, Value]) -> "_Sizes":
        """UsageError for a file that has MLA keys already, or lacks a size."""
        architecture = str(keys[ARCHITECTURE].value) if ARCHITECTURE in keys else ""
        if f"{architecture}.attention.key_length_mla" in keys:
            raise UsageError("`split_kv_b`", "the file is cut like that already", "leave it out")
        names = ("head_count", "key_length", "value_length", "kv_lora_rank")
        found = [keys.get(f"{architecture}.{name}") for name in (*(f"attention.{n}" for n in names), _ROPE)]
        numbers = [value.value if value else None for value in found]
        if not all(isinstance(number, int) and number > 0 for number in numbers):
            raise UsageError(
                "`split_kv_b`", f"the file lacks a size among {', '.join(names)} and {_ROPE}", "leave it out"
            )
        return cls(architecture, *numbers)  # type: ignore[arg-type]  # whole numbers, as has been seen


_ROPE = "rope.dimension_count"


class _Made(msgspec.Struct, frozen=True):
    """An output without its place: name, type, shape; the source, and what it takes of it."""

    name: str
    type: GGMLType
    shape: tuple[int, ...]
    source: SourceTensor
    view: View | None = None


def _made(tensor: SourceTensor, source: GGUFSource, patch: Patch) -> Sequence[_Made]:
    if not (patch.split_kv_b and tensor.name.endswith(_KV_B)):
        return (_Made(tensor.name, stored_type(tensor), written_shape(tensor.shape), tensor),)
    return _halves(tensor, _Sizes.of(source.keys))


def _halves(tensor: SourceTensor, sizes: _Sizes) -> Sequence[_Made]:
    """Of every head's rows those of keys, transposed, and those of values (conversion/deepseek.py, modify_tensors).

    Blocks of quantized weights lie along rows, which transposing takes apart: those become F32, which holds them.
    """
    nope = sizes.key - sizes.rope
    expected = (sizes.heads * (nope + sizes.value), sizes.rank)
    if tensor.shape != expected:
        found = f"has the shape {list(tensor.shape)}, and the keys say {list(expected)}"
        raise UsageError(f"tensor {tensor.name}", found, "convert the model again")
    type, stem = stored_type(tensor), tensor.name.removesuffix("kv_b.weight")
    if type is GGMLType.I32:
        raise UsageError(
            f"tensor {tensor.name}", "holds numbers (I32), which are no weights", "convert the model again"
        )
    exact = type if type in PLAIN else GGMLType.F32
    keys = View.of_heads(tensor.shape, sizes.heads, 0, nope, transposed=True)
    values = View.of_heads(tensor.shape, sizes.heads, nope, nope + sizes.value)
    return (
        _Made(f"{stem}k_b.weight", exact, keys.shape, tensor, keys),
        _Made(f"{stem}v_b.weight", type, values.shape, tensor, values),
    )


def _placed(info: TensorInfo, made: _Made) -> PlannedTensor:
    if made.view is None:
        return carried(info, made.source)
    return PlannedTensor(info, made.view, (made.source,), info.type)
