"""Headers and config to a plan. All that can be known to be wrong is found here, before a byte is written."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from deepgguf.architectures import find_architecture
from deepgguf.architectures.architecture import Model
from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.fp8 import WEIGHT_DTYPE
from deepgguf.errors import CheckpointError, UsageError
from deepgguf.formats.gguf.encode import lay_out
from deepgguf.formats.gguf.types import PLAIN, GGMLType, TensorInfo, Value, ValueType
from deepgguf.layouts import find_layout
from deepgguf.layouts.layout import FileKind, KeyFacts, Layout, Output
from deepgguf.planning.match import Matched, match
from deepgguf.planning.options import Options, check_options
from deepgguf.planning.schema import Part, Plan, PlannedFile, PlannedTensor
from deepgguf.planning.sized_file import sized_file
from deepgguf.planning.split import split_file
from deepgguf.planning.warnings import importance_warnings, tokenizer_warnings
from deepgguf.recipes.choice import Origin, TypeChoices, TypedTensor, choose_types
from deepgguf.recipes.tensor import ModelFacts, TensorToType
from deepgguf.tensors.view import View

_CONFIG = "config.json"


class _Sourced(msgspec.Struct, frozen=True):
    """An output with its source tensors, their dtype, and its unquantized type."""

    output: Output
    parts: tuple[Part, ...]
    dtype: str
    plain_type: GGMLType

    @property
    def weights(self) -> int:
        return self.output.rows.elements * len(self.parts)


def build_plan(checkpoint: Checkpoint, options: Options) -> Plan:
    """The plan of converting `checkpoint`. CheckpointError or UsageError say what stands in the way."""
    check_options(options)
    architecture = find_architecture(checkpoint.config, _CONFIG)
    model = architecture.parse(checkpoint.config, _CONFIG)
    layout = find_layout(options.target, architecture.name)
    matched = match(architecture, model, checkpoint.shards.tensors)
    outputs = layout.outputs(model, matched.expected)
    files: list[PlannedFile] = []
    for kind in _kinds(layout, options):
        chosen = (
            options
            if kind is FileKind.TEXT or options.recipe is None
            else msgspec.structs.replace(options, type="auto")
        )
        sourced = [_source(o, matched, layout, chosen) for o in outputs if o.file is kind]
        file = _plan_file(kind, sourced, checkpoint, model, layout, chosen)
        if kind is FileKind.TEXT:
            files += split_file(file, options.split_max_size, options.split_max_tensors)
        else:
            files.append(file)  # clip.cpp loads an mmproj from one file only
    warnings = [
        *checkpoint.warnings,
        *architecture.limits(model),
        *layout.limits(model),
        *tokenizer_warnings(checkpoint),
    ]
    if options.importance:
        warnings += importance_warnings(files, options.importance)
    return Plan(
        source=checkpoint.folder,
        name=checkpoint.name,
        target=layout.target,
        architecture=layout.architecture,
        type=options.type,
        sources=checkpoint.shards.files,
        files=tuple(files),
        dropped=matched.dropped,
        scales_paired=matched.scales_paired,
        block=matched.block,
        warnings=tuple(warnings),
        run=layout.run(tuple(f"{options.folder}/{file.name}" for file in files)),
    )


def _kinds(layout: Layout, options: Options) -> list[FileKind]:
    kinds = [kind for kind in FileKind if kind in layout.keys and options.only in ("", kind)]
    if not kinds:
        raise UsageError("`only`", f"this model has no {options.only} file for {layout.target}", "leave it out")
    return kinds


def _source(output: Output, matched: Matched, layout: Layout, options: Options) -> _Sourced:
    parts = tuple(matched.parts[role] for role in output.roles)
    first = parts[0].source
    odd = next((p.source for p in parts if p.source.dtype != first.dtype), None)
    if odd:
        found = f"dtype {odd.dtype}, but {first.name} has {first.dtype}"
        raise CheckpointError(f"tensor {odd.name}", found, f"all experts stacked in {output.name} must be alike")
    chosen = options.plain_type
    types = layout.plain_types[output.storage]
    plain_type = types[first.dtype] if chosen is None else layout.chosen_types[output.storage][chosen]
    return _Sourced(output, parts, first.dtype, plain_type)


def _plan_file(
    kind: FileKind, sourced: Sequence[_Sourced], checkpoint: Checkpoint, model: Model, layout: Layout, options: Options
) -> PlannedFile:
    keys = layout.keys[kind](
        KeyFacts(
            model=model,
            tokenizer=checkpoint.tokenizer,
            card=checkpoint.card,
            name=checkpoint.name,
            model_id=checkpoint.model_id,
            fp8_tensors=tuple(s.output.name for s in sourced if s.dtype == WEIGHT_DTYPE),
            parameters=_parameters(sourced),
            processor=checkpoint.processor,
        )
    )
    typed = _types(sourced, layout, options, keys)
    infos = lay_out((s.output.name, t.type, s.output.shape) for s, t in zip(sourced, typed, strict=True))
    tensors = tuple(_tensor(s, t, info) for s, t, info in zip(sourced, typed, infos, strict=True))
    keys["general.file_type"] = Value(ValueType.UINT32, _file_type(sourced, layout, options))
    if options.recipe and options.importance:
        keys |= options.importance.keys
    return sized_file(_file_name(kind, sourced, checkpoint, options), kind, keys, tensors)


def _types(
    sourced: Sequence[_Sourced], layout: Layout, options: Options, keys: dict[str, Value]
) -> tuple[TypedTensor, ...]:
    plain = [TensorToType(s.output.name, s.output.shape, s.plain_type) for s in sourced]
    if options.recipe is None:
        return tuple(TypedTensor(t.name, t.type, t.type, Origin.KEPT) for t in plain)
    choices = TypeChoices(
        recipe=options.recipe,
        patterns=options.patterns,
        output_type=options.output_type,
        token_embedding_type=options.token_embedding_type,
        importance=options.importance.sizes if options.importance else None,
    )
    facts = ModelFacts(*(_number(keys, f"{layout.architecture}.{name}") for name in _FACTS))
    return choose_types(facts, plain, choices, layout.exceptions)


_FACTS = ("block_count", "expert_count", "attention.head_count", "attention.head_count_kv")


def _number(keys: dict[str, Value], name: str) -> int:
    value = keys[name].value
    assert isinstance(value, int)
    return value


def _tensor(sourced: _Sourced, typed: TypedTensor, info: TensorInfo) -> PlannedTensor:
    note = ""
    if typed.origin in (Origin.FALLBACK, Origin.UNFIT, Origin.PINNED, Origin.CHOSEN) and typed.type is not typed.wanted:
        note = f"{typed.origin.value}: wanted {typed.wanted.name}, rows of {info.shape[-1]}"
    rows = _flat(sourced) if info.type in PLAIN else sourced.output.rows
    return PlannedTensor(info, sourced.dtype, rows, sourced.parts, sourced.plain_type, note, typed.weighted)


def _flat(sourced: _Sourced) -> View:
    """Where every weight stands alone, any run of them will do as a piece: rows of one."""
    rows = sourced.output.rows
    if rows.groups > 1 or rows.transposed or sourced.dtype == WEIGHT_DTYPE:
        return rows
    return View(1, rows.elements, 1, 0, rows.elements)


def _main_type(sourced: Iterable[_Sourced]) -> GGMLType:
    """The unquantized type of most weights."""
    weights: Counter[GGMLType] = Counter()
    for s in sourced:
        weights[s.plain_type] += s.weights
    return weights.most_common(1)[0][0]


def _parameters(sourced: Iterable[_Sourced]) -> tuple[int, int, int, int]:
    """Weights in all, outside of experts, in one expert of every layer; experts per layer (for the size label)."""
    total = expert = experts = 0
    for s in sourced:
        total += s.weights
        if len(s.parts) > 1:
            expert += s.weights // len(s.parts)
            experts = len(s.parts)
    return total, total - expert * experts, expert, experts


def _file_type(sourced: Sequence[_Sourced], layout: Layout, options: Options) -> int:
    return options.recipe.file_type if options.recipe else layout.file_types[_main_type(sourced)]


def _file_name(kind: FileKind, sourced: Sequence[_Sourced], checkpoint: Checkpoint, options: Options) -> str:
    prefix = "" if kind is FileKind.TEXT else f"{kind}-"
    if options.output:
        return prefix + options.output
    type = options.type.upper() if options.recipe else _main_type(sourced).name
    return f"{prefix}{checkpoint.name}-{type}.gguf"
