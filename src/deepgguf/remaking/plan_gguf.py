"""The plan by which a finished file was made of a GGUF file, as far as it can be told, and what it must be by that."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from deepgguf.checkpoint.gguf_source import GGUFSource
from deepgguf.choices import Target
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.encode import lay_out
from deepgguf.formats.gguf.split_set import LAYOUT_KEYS
from deepgguf.formats.gguf.types import GGUFHeader, TensorInfo, Value
from deepgguf.formats.manifest import manifest_path
from deepgguf.planning.carried import matrices, written_shape
from deepgguf.planning.key_overrides import overridden
from deepgguf.planning.options import Options
from deepgguf.planning.patch_gguf import PATCH, Patch, plan_patch
from deepgguf.planning.quantize_gguf import COPY, TYPES, plan_gguf
from deepgguf.planning.schema import Plan, PlannedFile, PlannedTensor
from deepgguf.planning.sized_file import sized_file
from deepgguf.remaking.alike import Planned, Replanned, expected_file, most_alike, split_alike, with_its_word
from deepgguf.remaking.chosen import FILE_TYPE, MATRIX_NAME, possible_choices, types_of
from deepgguf.tensors.source_tensor import Blob, SourceTensor
from deepgguf.tensors.view import Shape, View
from deepgguf.verification.counterparts import Origin
from deepgguf.verification.expected import Expected, SourceFiles
from deepgguf.verification.stored_hashes import StoredHashes, read_stored_hashes

_NAME = "verified.gguf"  # of the planned file, which nothing follows
_EXPERTS = "_exps."
_OF_ANY_TYPE = {"target", "override_kv"}  # choices that files have whose tensors keep their types


def plan_gguf_again(headers: Sequence[GGUFHeader], source: GGUFSource, given: Mapping[str, Any]) -> Replanned:
    """Plans what `headers` are of: `source` joined, split, patched or quantized, whichever is most like them.

    `given` has the parsed choices of the caller. The keys that a patch has changed are as the file has them, if its
    manifest says that it is one.

    UsageError for choices that make no sense and for tensors that deepgguf does not read, VerificationError for a
    manifest that is none.
    """
    stored = read_stored_hashes(manifest_path(headers[0].path))
    best = _most_alike(headers, source, stored, given)
    plan, own = best.plan, {tensor.name: tensor for tensors in source.tensors() for tensor in tensors}
    tensors = [tensor for file in plan.files for tensor in file.tensors]
    expected = Expected(
        source=SourceFiles(source.name, source.files, source.sources),
        origins={tensor.info.name: _origin(tensor, own) for tensor in tensors},
        files=tuple(map(expected_file, plan.files)),
        target=plan.target,
        type=plan.type,
        chosen=best.chosen,
        patched=_changed(source, headers[0]) if plan.type == PATCH else (),
        importance={tensor.info.name: tensor.importance for tensor in tensors if tensor.importance},
        importance_file=plan.importance if "imatrix" in given else None,
    )
    return Replanned(expected, plan)


def _most_alike(
    headers: Sequence[GGUFHeader], source: GGUFSource, stored: StoredHashes | None, given: Mapping[str, Any]
) -> Planned:
    if given.keys() - _OF_ANY_TYPE:
        return _quantized(headers, source, stored, given)
    moved = Planned(_moved(headers, source, stored, given), Options(), 0)
    if not any(_unlike(headers, moved.plan)):
        return moved
    try:
        quantized = _quantized(headers, source, stored, given)
    except UsageError:  # no model that deepgguf quantizes
        return moved
    return min(moved, quantized, key=lambda one: _unlike(headers, one.plan))


def _moved(
    headers: Sequence[GGUFHeader], source: GGUFSource, stored: StoredHashes | None, given: Mapping[str, Any]
) -> Plan:
    """The plan that gives no tensor another type, in as many files as there are."""
    overrides = given.get("override_kv", ())
    changed = overridden(source.keys, overrides)
    patch = Patch({one.key: changed[one.key] for one in overrides})
    try:
        plan = plan_patch(source, msgspec.structs.replace(patch, split_kv_b=_is_cut(headers, source)), _NAME)
    except UsageError:  # the source cannot be cut, so it is another model's
        plan = plan_patch(source, patch, _NAME)
    file, is_patch = _joined(plan.files, headers), stored is not None and stored.type == PATCH
    if is_patch:
        file = sized_file(_NAME, file.kind, _without_layout(headers[0].keys), file.tensors)
    files = tuple(split_alike(file, headers))
    return msgspec.structs.replace(plan, files=files, type=PATCH if is_patch else COPY)


def _is_cut(headers: Sequence[GGUFHeader], source: GGUFSource) -> bool:
    """Whether attn_kv_b of the source is attn_k_b and attn_v_b in the files."""
    new = types_of(headers).keys() - types_of(source.headers).keys()
    return any(name.endswith("attn_k_b.weight") for name in new)


def _joined(files: Sequence[PlannedFile], headers: Sequence[GGUFHeader]) -> PlannedFile:
    """One file of all their tensors, with the keys of the first. Dimensions of 1 that ggml does not count, and writers
    other than ggml's have, are there where they are in `headers`.
    """
    shapes = {tensor.name: tensor.shape for header in headers for tensor in header.tensors}
    tensors = [tensor for file in files for tensor in file.tensors]
    infos = lay_out((t.info.name, t.info.type, _shape(t.info, shapes.get(t.info.name))) for t in tensors)
    placed = (msgspec.structs.replace(tensor, info=info) for tensor, info in zip(tensors, infos, strict=True))
    return sized_file(_NAME, files[0].kind, _without_layout(files[0].keys), tuple(placed))


def _shape(planned: TensorInfo, found: Shape | None) -> Shape:
    return found if found and written_shape(found) == planned.shape else planned.shape


def _without_layout(keys: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in keys.items() if name not in LAYOUT_KEYS}


def _quantized(
    headers: Sequence[GGUFHeader], source: GGUFSource, stored: StoredHashes | None, given: Mapping[str, Any]
) -> Planned:
    """The most alike of the plans that quantize; UsageError if the source is not quantized at all."""
    told, engine = (stored.type, stored.target) if stored else ("", "")
    asked = given.get("target") or (engine if engine in get_args(Target) and told in TYPES else None)
    shapes = {tensor.name: tensor.shape for header in source.headers for tensor in header.tensors}
    if not _was_weighted(headers[0].keys):
        shapes = {}  # no tensor can have data of an importance matrix
    kept = list(types_of(headers)) == list(types_of(source.headers))  # a set that is kept is not sorted
    given = {**given, "allow_requantize": True, "keep_split": kept}
    candidates = list(possible_choices(headers, shapes, told, given, source.files))
    if "type" not in given:
        candidates.append(Options(type=COPY, override_kv=given.get("override_kv", ()), keep_split=kept))

    def make(options: Options) -> Plan:
        plan = plan_gguf(source, options, asked)
        return msgspec.structs.replace(plan, files=(_joined(plan.files, headers),))

    planned = most_alike(headers, candidates, make, told, given)
    file = with_its_word(planned.plan.files[0], headers[0], given)
    return planned._replace(plan=msgspec.structs.replace(planned.plan, files=tuple(split_alike(file, headers))))


def _was_weighted(keys: Mapping[str, Value]) -> bool:
    """Whether an importance matrix was used: its keys come last then, and else where the source has its own."""
    names = list(keys)
    return MATRIX_NAME in keys and FILE_TYPE in keys and names.index(MATRIX_NAME) > names.index(FILE_TYPE)


def _unlike(headers: Sequence[GGUFHeader], plan: Plan) -> tuple[int, int]:
    """How many tensors have another type than by the plan, or are not there; how many keys have another value, or
    another place, or the tensors have one.
    """
    planned = {tensor.info.name: tensor.info.type for file in plan.files for tensor in file.tensors}
    types = types_of(headers)
    wrong = sum(types.get(name) is not planned.get(name) for name in {**types, **planned})
    keys = sum(_differing(header.keys, file.keys) for header, file in zip(headers, plan.files, strict=True))
    return wrong, keys + (list(types) != list(planned))


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> int:
    return sum(one.get(name) != other.get(name) for name in {**one, **other}) + (list(one) != list(other))


def _changed(source: GGUFSource, header: GGUFHeader) -> tuple[str, ...]:
    """The keys of the model that differ from the source's."""
    before, after = _without_layout(source.keys), _without_layout(header.keys)
    return tuple(name for name in {**before, **after} if before.get(name) != after.get(name))


def _origin(tensor: PlannedTensor, own: Mapping[str, SourceTensor]) -> Origin:
    """What is made of: the source's tensor of its name, by expert in a stack, or what a patch cuts of another."""
    shape, source = tensor.info.shape, own.get(tensor.info.name)
    if source is None:
        return Origin(shape, tensor.view, tensor.sources, tensor.sources[0].name)
    if _EXPERTS not in source.name or len(shape) < 3:
        return Origin(shape, matrices(shape), (source,), source.name)
    (blob,), nbytes = source.blobs, source.nbytes // shape[0]
    experts = tuple(
        SourceTensor(source.name, shape[1:], source.encoding, (Blob(blob.file, blob.offset + n * nbytes, nbytes),))
        for n in range(shape[0])
    )
    return Origin(shape, View.whole(shape[1:]), experts, source.name)
