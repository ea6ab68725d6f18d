"""A GGUF source to a plan: the same model in other types, by the rules of llama-quantize (llama-quant.cpp)."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from deepgguf.checkpoint.gguf_source import ARCHITECTURE, GGUFSource
from deepgguf.choices import FileKind
from deepgguf.encodings import PLAIN
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.encode import lay_out
from deepgguf.formats.gguf.split_set import LAYOUT_KEYS, unsplit_stem
from deepgguf.formats.gguf.types import FileType, GGMLType, TensorInfo, Value, ValueType
from deepgguf.models import known_families
from deepgguf.models.family import AnyTarget
from deepgguf.models.table import Output
from deepgguf.planning.carried import matrices, stored_type, whole_view, written_shape
from deepgguf.planning.importance import Served, importance_of, weights_by
from deepgguf.planning.key_overrides import KeyOverride, overridden, override_warnings
from deepgguf.planning.options import PLAIN_TYPES, Options, check_options, type_choices
from deepgguf.planning.schema import Plan, PlannedFile, PlannedTensor
from deepgguf.planning.sized_file import sized_file
from deepgguf.planning.split import cut_file, split_file
from deepgguf.planning.warnings import filter_warnings, importance_warnings, pattern_warnings
from deepgguf.recipes.choice import Origin, TypedTensor, allows_quantization, choose_types
from deepgguf.recipes.recipe import RECIPES
from deepgguf.recipes.tensor import ModelFacts, TensorToType, visiting_key
from deepgguf.tensors.source_tensor import SourceTensor

FILE_TYPE, QUANTIZATION_VERSION = "general.file_type", "general.quantization_version"

COPY = "copy"
TYPES = (COPY, *PLAIN_TYPES, *RECIPES)
_TYPE = re.compile(rf"[-.]({'|'.join(type.name for type in FileType)})$", re.IGNORECASE)


class Engine(NamedTuple):
    """The engine that a file is for, as a family's table has it, and which of its files this one is."""

    name: str
    target: AnyTarget
    kind: FileKind


def plan_gguf(source: GGUFSource, options: Options, engine: str | None = None) -> Plan:
    """The plan of quantizing `source`, or with the type "copy" of joining its files.

    `engine` is the one that the file is for, None for the one whose layout it has.

    UsageError for choices that make no sense, for a model or a tensor that is not quantized here, and for weights that
    are quantized already unless that is allowed.
    """
    _check(options)
    found = engine_of(source, engine)
    keys = _keys(source, options)
    stored = source.tensors()
    files = tuple(_files(source, stored, keys, options, found))
    warnings = [
        *pattern_warnings(files, options.tensor_types),
        *override_warnings(options.override_kv),
        *(filter_warnings(options.imatrix) if options.imatrix else ()),
        *(importance_warnings(files, options.importance, found.name) if options.importance else ()),
        *_requantized(files, allowed=options.allow_requantize),
    ]
    return Plan(
        source=source.files,
        name=source.name,
        target=found.name,
        architecture=found.target.files[found.kind].architecture,
        type=options.type,
        sources=source.sources,
        files=files,
        dropped=(),
        warnings=tuple(warnings),
        importance=options.importance.source if options.importance else None,
        recipe=options.recipe_name,
    )


def engine_of(source: GGUFSource, asked: str | None) -> Engine:
    """The engine that the files are for: `asked`, else of those that have such files the one whose layout it is.

    UsageError for an architecture that deepgguf does not know, an mmproj, or one that `asked` has no files of.
    """
    value = source.keys.get(ARCHITECTURE)
    architecture = value.value if value else None
    engines: dict[str, Engine] = {}
    known: set[str] = set()
    advice = "use llama-quantize for it"
    for family in known_families().values():
        for name, target in family.targets.items():
            for kind, file in target.files.items():
                if asked not in (None, name):
                    advice = "leave `target` out" if file.architecture == architecture else advice
                    continue
                known.update({file.architecture} if kind != "mmproj" else ())
                if file.architecture == architecture:
                    engines.setdefault(name, Engine(name, target, kind))
    if not engines:
        expected = f"expected one of {', '.join(sorted(known))}{f' for {asked}' if asked else ''}"
        raise UsageError(source.name, f"{ARCHITECTURE} is {architecture!r}, {expected}", advice)
    if any(engine.kind == "mmproj" for engine in engines.values()):
        raise UsageError(source.name, "an mmproj, which no engine runs quantized", "give the file of the model itself")
    unsplit = any(tensor.name.endswith("attn_kv_b.weight") for header in source.headers for tensor in header.tensors)
    return engines.get("ollama" if unsplit else "llama.cpp") or next(iter(engines.values()))


def _check(options: Options) -> None:
    if options.type not in TYPES:
        found = "must be given" if options.type == "auto" else f"{options.type!r} is not a type to quantize to"
        raise UsageError("`type`", found, f"choose from {', '.join(TYPES)}")
    check_options(options if options.type != COPY else options.of_type("auto"))
    if options.keep_split and (options.split_max_size or options.split_max_tensors):
        raise UsageError("`keep_split`", "contradicts `split_max_size` and `split_max_tensors`", "give one of them")


def _keys(source: GGUFSource, options: Options) -> dict[str, Value]:
    """As llama-quantize has them: in their order, but what it sets comes last."""
    own = {QUANTIZATION_VERSION: Value(ValueType.UINT32, 2), FILE_TYPE: _file_type(source, options)}
    kept = {name: value for name, value in source.keys.items() if name not in own and name not in LAYOUT_KEYS}
    return _last(kept | own, options.override_kv)


def _file_type(source: GGUFSource, options: Options) -> Value:
    """A copy's is its source's."""
    if options.type == COPY:
        return source.keys.get(FILE_TYPE, Value(ValueType.UINT32, FileType.F32.value))
    number = options.recipe.file_type if options.recipe else FileType[options.type.upper()].value
    return Value(ValueType.UINT32, number)


def _last(keys: dict[str, Value], overrides: Sequence[KeyOverride]) -> dict[str, Value]:
    changed = overridden(keys, overrides)
    for override in overrides:
        changed[override.key] = changed.pop(override.key)
    return changed


def _files(
    source: GGUFSource, stored: list[list[SourceTensor]], keys: dict[str, Value], options: Options, engine: Engine
) -> list[PlannedFile]:
    given = [tensor for tensors in stored for tensor in tensors]
    if not options.keep_split:
        given.sort(key=lambda tensor: visiting_key(TensorToType(tensor.name, (), GGMLType.F32)))
    shapes = [written_shape(tensor.shape) for tensor in given]
    matrix = options.importance
    served = {
        tensor.name: importance_of(Output(tensor.name, matrices(shape), ""), shape, matrix) if matrix else Served()
        for tensor, shape in zip(given, shapes, strict=True)
    }
    typed = _types(given, keys, options, served, engine)
    infos = lay_out((t.name, t.type, shape) for t, shape in zip(typed, shapes, strict=True))
    tensors = tuple(_tensor(s, t, info, served) for s, t, info in zip(given, typed, infos, strict=True))
    if options.recipe and matrix:
        for name, value in matrix.keys().items():
            keys.pop(name, None)
            keys[name] = value
    name = options.output or f"{stem_of(source.name)}-{(options.recipe_name or options.type).upper()}.gguf"
    whole = sized_file(name, engine.kind, keys, tensors)
    if options.keep_split and len(stored) > 1:
        return cut_file(whole, _groups(tensors, [len(each) for each in stored]))
    return split_file(whole, options.split_max_size, options.split_max_tensors)


def stem_of(name: str, *, typed: bool = False) -> str:
    """A file's name without its suffix and its number in a split set, and without its type unless `typed`."""
    stem = unsplit_stem(name)
    return (stem if typed else _TYPE.sub("", stem)) or name


def _groups(tensors: Sequence[PlannedTensor], counts: Sequence[int]) -> list[tuple[PlannedTensor, ...]]:
    left = iter(tensors)
    return [tuple(next(left) for _ in range(count)) for count in counts]


def _types(
    given: Sequence[SourceTensor], keys: Mapping[str, Value], options: Options, served: Mapping[str, Served],
    engine: Engine,
) -> tuple[TypedTensor, ...]:  # fmt: skip
    tensors = [TensorToType(tensor.name, tensor.shape, stored_type(tensor)) for tensor in given]
    if options.recipe is None:
        plain = options.plain_type
        types = [plain if plain is not None and allows_quantization(tensor) else tensor.type for tensor in tensors]
        return tuple(TypedTensor(t.name, type, type, Origin.KEPT) for t, type in zip(tensors, types, strict=True))
    sizes = {name: one.size for name, one in served.items() if one.size} if options.importance else None
    facts = _facts(keys, engine.target.files[engine.kind].architecture)
    return choose_types(facts, tensors, type_choices(options, options.recipe, sizes), engine.target.exceptions)


def _facts(keys: Mapping[str, Value], architecture: str) -> ModelFacts:
    """What the rules read; of what differs by block the first counts (llama-hparams.cpp)."""

    def number(name: str, default: int) -> int:
        found = keys.get(f"{architecture}.{name}")
        value = found.value if found else default
        first = next(iter(value), default) if isinstance(value, list | tuple) else value
        return first if isinstance(first, int) else default

    heads = number("attention.head_count", 1)
    return ModelFacts(
        number("block_count", 0), number("expert_count", 0), heads, number("attention.head_count_kv", heads)
    )


def _tensor(source: SourceTensor, typed: TypedTensor, info: TensorInfo, served: Mapping[str, Served]) -> PlannedTensor:
    stored = stored_type(source)
    importance = weights_by(served[info.name], info.type) if typed.weighted else None
    view = whole_view(info.shape, {stored, info.type})
    return PlannedTensor(info, view, (source,), stored, typed.note(info.shape[-1]), importance)


def _requantized(files: Sequence[PlannedFile], *, allowed: bool) -> Iterator[str]:
    """A sentence for every two types; UsageError unless `allowed`."""
    twice: Counter[tuple[str, str]] = Counter()
    for tensor in (tensor for file in files for tensor in file.tensors):
        before, after = tensor.plain_type, tensor.info.type
        if before is after or before in PLAIN:
            continue
        if before is GGMLType.I32:
            found = f"holds numbers ({before.name}), which cannot become weights of {after.name}"
            raise UsageError(
                f"tensor {tensor.info.name}", found, "no DeepSeek model has such a tensor: convert it again"
            )
        if not allowed:
            text = f"is {before.name} already, and quantizing it to {after.name} again loses more than from BF16"
            advice = "give a file in BF16, or `allow_requantize=True`"
            raise UsageError(f"tensor {tensor.info.name}", text, advice)
        twice[before.name, after.name] += 1
    for (before_name, after_name), count in twice.items():
        yield f"{count:,} tensors are quantized a second time, {before_name} to {after_name}, which a BF16 file avoids"
