"""Headers and config to a plan. All that can be known to be wrong is found here, before a byte is written."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.choices import FileKind
from deepgguf.encodings import PLAIN
from deepgguf.encodings.encoding import Encoding
from deepgguf.encodings.fp8 import Fp8
from deepgguf.encodings.plain import Plain
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.encode import lay_out
from deepgguf.formats.gguf.types import GGMLType, TensorInfo, Value, ValueType
from deepgguf.models.family import AnyTarget, KeyFacts
from deepgguf.models.match import Matched, Model, Selection, read_model
from deepgguf.models.mtp import mtp_warnings, require_mtp
from deepgguf.models.storage import exact_type
from deepgguf.models.table import Output
from deepgguf.planning.chat import chat_warnings, with_what_it_lacks
from deepgguf.planning.importance import Served, importance_of, weights_by
from deepgguf.planning.key_overrides import overridden, override_warnings
from deepgguf.planning.options import SOURCE, Options, check_options, type_choices
from deepgguf.planning.schema import Dropped, Plan, PlannedFile, PlannedTensor, forms_of
from deepgguf.planning.sized_file import sized_file
from deepgguf.planning.split import split_file
from deepgguf.planning.warnings import (
    filter_warnings,
    head_warnings,
    importance_warnings,
    like_warnings,
    pattern_warnings,
    rounding_warnings,
)
from deepgguf.recipes.choice import Origin, TypedTensor, choose_types
from deepgguf.recipes.tensor import ModelFacts, TensorToType
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.tensors.view import View

_PREFIXES = {"mmproj": "mmproj", "draft": "dspark"}  # of files beside the model's
_BLOCK = re.compile(r"blk\.(\d+)\.")


class _Sourced(msgspec.Struct, frozen=True):
    """An output with its shape, its source tensors, and its unquantized type, with a note if there is one to make."""

    output: Output
    shape: tuple[int, ...]
    sources: tuple[SourceTensor, ...]
    plain_type: GGMLType
    note: str = ""

    @property
    def forms(self) -> tuple[Encoding, ...]:
        return forms_of(self.sources)

    @property
    def experts(self) -> int:
        """Of how many it is the stack; 0 for one, or if it is of none."""
        stacked = len(self.sources) > 1 and len(self.shape) > len(self.output.view.shape)
        return len(self.sources) if stacked else 0

    @property
    def weights(self) -> int:
        return self.output.view.elements * len(self.sources)


def build_plan(checkpoint: Checkpoint, options: Options) -> Plan:
    """The plan of converting `checkpoint`. CheckpointError or UsageError say what stands in the way."""
    return plan_model(model_of(checkpoint, options), checkpoint, options)


def model_of(checkpoint: Checkpoint, options: Options) -> Model:
    """The model that `build_plan` plans, where there are many plans of it; the options are checked. Errors are its."""
    check_options(options)
    model = read_model(checkpoint, Selection(options.target, options.mtp, options.drop, options.only == "draft"))
    require_mtp(options.mtp, model.mtp_layers)
    return model


def plan_model(model: Model, checkpoint: Checkpoint, options: Options) -> Plan:
    """As `build_plan`, of a model that has been read; the options are checked."""
    target = _target(model, options)
    checkpoint = with_what_it_lacks(checkpoint, model, options)
    files: list[PlannedFile] = []
    for kind in _kinds(target, model.matched, options):
        whole = kind != "text"  # clip.cpp loads an mmproj from one file only, and it is not quantized
        chosen = options.of_type("auto") if whole and options.recipe else options
        file = _plan_file(kind, _sourced(kind, model.matched, target, chosen), checkpoint, model, target, chosen)
        files += [file] if whole else split_file(file, options.split_max_size, options.split_max_tensors)
    warnings = [
        *head_warnings(checkpoint, model.matched),
        *checkpoint.warnings,
        *model.family.limits(model.config),
        *target.limits(model.config),
        *mtp_warnings(model.mtp_layers),
        *chat_warnings(checkpoint.tokenizer, pre_chosen=options.pre is not None),
        *model.family.prompt_limits(checkpoint.tokenizer),
        *pattern_warnings(files, options.tensor_types),
        *like_warnings(files, options.like, options.type),
        *override_warnings(options.override_kv),
        *(filter_warnings(options.imatrix) if options.imatrix else ()),
        *(rounding_warnings(files) if options.type == SOURCE else ()),
    ]
    if options.importance:
        warnings += importance_warnings(files, options.importance, options.target)
    return Plan(
        source=checkpoint.files,
        name=checkpoint.name,
        target=options.target,
        architecture=target.files["text"].architecture,
        type=options.type,
        sources=checkpoint.shards.files,
        files=tuple(files),
        dropped=_dropped(model.matched, checkpoint),
        warnings=tuple(warnings),
        importance=options.importance.source if options.importance else None,
        mtp=model.mtp,
        recipe=options.recipe_name,
    )


def _target(model: Model, options: Options) -> AnyTarget:
    target = model.family.targets.get(options.target)
    if target is None:
        found = f"a {model.family.name} cannot be converted for {options.target}"
        raise UsageError("`target`", found, f"choose from {', '.join(sorted(model.family.targets))}")
    return target


def _kinds(target: AnyTarget, matched: Matched, options: Options) -> list[FileKind]:
    """The files that are wanted, of those that the model has tensors for."""
    kinds = [kind for kind in target.files if options.only in ((kind,) if kind == "draft" else (None, kind))]
    outputs = [output.file for row, _ in matched.rows for output in row.outputs.get(options.target, ())]
    kinds = [kind for kind in kinds if kind in outputs]
    if not kinds and options.only == "draft":
        raise UsageError("`draft`", f"no draft model can be written for {options.target}", "leave it out")
    if not kinds:
        raise UsageError("`only`", f"this model has no {options.only} file for {options.target}", "leave it out")
    return kinds


def _sourced(kind: FileKind, matched: Matched, target: AnyTarget, options: Options) -> list[_Sourced]:
    """The outputs of a file, in its order."""
    found = []
    for row, sources in matched.rows:
        outputs = [output for output in row.outputs.get(options.target, ()) if output.file == kind]
        if outputs:
            for output in outputs:
                plain_type, note = _unquantized(output, forms_of(sources), target, options)
                found.append(_Sourced(output, row.output_shape(output), sources, plain_type, note))
    return sorted(found, key=_file_order)


def _unquantized(
    output: Output, forms: tuple[Encoding, ...], target: AnyTarget, options: Options
) -> tuple[GGMLType, str]:
    """The type of the output without quantization, and a note on it."""
    if options.recipe:
        return target.type_before(output, forms), ""
    if options.type != SOURCE:
        return target.type_of(output, forms, options.plain_type), ""
    type = exact_type(output.storage, forms, output.view.row_length, transposed=output.view.transposed)
    coded = type is GGMLType.F32 and not any(isinstance(form, Plain) for form in forms)
    return type, "no smaller type holds every weight" if coded else ""


def _file_order(sourced: _Sourced) -> tuple[float, bytes]:
    """By block number, then what belongs to no block; by name, bytewise (Ollama: fs/ggml/gguf.go, WriteGGUF)."""
    name = sourced.output.name
    block = _BLOCK.match(name)
    return (int(block[1]) if block else float("inf"), name.encode())


def _dropped(matched: Matched, checkpoint: Checkpoint) -> tuple[Dropped, ...]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in matched.left_out.items():
        by_reason.setdefault(reason, []).append(name)
    found = []
    for reason, names in sorted(by_reason.items()):
        left_out = [checkpoint.tensors[name] for name in names]
        whole = {tensor.name_in_files: tensor for tensor in left_out}  # many experts may be in one
        scales = sum(len(tensor.blobs) - 1 for tensor in whole.values())
        nbytes = sum(blob.nbytes for blob in {blob for tensor in left_out for blob in tensor.blobs})
        found.append(Dropped(reason, len(whole), scales, nbytes, next(iter(whole))))
    return tuple(found)


def _plan_file(
    kind: FileKind, sourced: Sequence[_Sourced], checkpoint: Checkpoint, model: Model, target: AnyTarget,
    options: Options,
) -> PlannedFile:  # fmt: skip
    file = target.files[kind]
    fp8_tensors = tuple(s.output.name for s in sourced if any(isinstance(form.form, Fp8) for form in s.forms))
    facts = KeyFacts(checkpoint, file.architecture, fp8_tensors, _parameters(sourced), model.mtp_layers)
    keys = file.keys(model.config, facts)
    plain_type = _main_type(sourced) if options.plain_type is None else options.plain_type
    file_type = options.recipe.file_type if options.recipe else target.file_types[plain_type]
    keys["general.file_type"] = Value(ValueType.UINT32, file_type)
    if kind == "text":
        keys = overridden(keys, options.override_kv)
    matrix = options.importance
    served = {s.output.name: importance_of(s.output, s.shape, matrix) for s in sourced} if matrix else {}
    typed = _types(sourced, target, options, keys, served)
    infos = lay_out((s.output.name, t.type, s.shape) for s, t in zip(sourced, typed, strict=True))
    tensors = tuple(_tensor(s, t, info, served, target) for s, t, info in zip(sourced, typed, infos, strict=True))
    if options.recipe and matrix:
        keys |= matrix.keys()
    type = (options.recipe_name or options.type).upper() if options.recipe else plain_type.name
    name = options.output or f"{checkpoint.name}-{type}{'-mtp' if model.mtp == 'only' else ''}.gguf"
    return sized_file(name if kind == "text" else f"{_PREFIXES[kind]}-{name}", kind, keys, tensors)


def _types(
    sourced: Sequence[_Sourced], target: AnyTarget, options: Options, keys: dict[str, Value],
    served: Mapping[str, Served],
) -> tuple[TypedTensor, ...]:  # fmt: skip
    plain = [TensorToType(s.output.name, s.shape, s.plain_type) for s in sourced]
    if options.recipe is None:
        return tuple(TypedTensor(t.name, t.type, t.type, Origin.KEPT) for t in plain)
    sizes = {name: one.size for name, one in served.items() if one.size} if options.importance else None
    choices = type_choices(options, options.recipe, sizes)
    architecture = target.files["text"].architecture
    facts = ModelFacts(*(_number(keys, f"{architecture}.{name}") for name in _FACTS))
    return choose_types(facts, plain, choices, target.exceptions)


_FACTS = ("block_count", "expert_count", "attention.head_count", "attention.head_count_kv")


def _number(keys: dict[str, Value], name: str) -> int:
    value = keys[name].value
    assert isinstance(value, int)
    return value


def _tensor(
    sourced: _Sourced, typed: TypedTensor, info: TensorInfo, served: Mapping[str, Served], target: AnyTarget
) -> PlannedTensor:
    view = _flat(sourced) if info.type in PLAIN else sourced.output.view
    note = sourced.note or typed.note(info.shape[-1])
    importance = weights_by(served[info.name], info.type) if typed.weighted else None
    return PlannedTensor(info, view, sourced.sources, sourced.plain_type, note, importance, target.direct)


def _flat(sourced: _Sourced) -> View:
    """Where every weight stands alone, any run of them will do as a piece: rows of one."""
    view = sourced.output.view
    if view.groups > 1 or view.transposed or view.woven or any(form.type not in PLAIN for form in sourced.forms):
        return view
    return View(1, view.group_rows * view.cols, 1, view.start * view.cols, view.stop * view.cols)


def _main_type(sourced: Sequence[_Sourced]) -> GGMLType:
    """The unquantized type of most weights; of those in experts, where there are any."""
    weights: Counter[GGMLType] = Counter()
    for s in [s for s in sourced if s.experts] or sourced:
        weights[s.plain_type] += s.weights
    return weights.most_common(1)[0][0]


def _parameters(sourced: Iterable[_Sourced]) -> tuple[int, int, int, int]:
    """Weights in all, outside of experts, in one expert of every layer; experts per layer (for the size label)."""
    total = expert = experts = 0
    for s in sourced:
        total += s.weights
        if s.experts:
            expert += s.weights // s.experts
            experts = s.experts
    return total, total - expert * experts, expert, experts
