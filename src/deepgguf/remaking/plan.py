"""The plan by which a finished file was made, as far as it can be told, and what the file must be by that."""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.pre_tokenizer import KNOWN_NAMES
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.encode import encode_header
from deepgguf.formats.gguf.split_set import SPLIT_COUNT
from deepgguf.formats.gguf.types import GGUFHeader, Value
from deepgguf.formats.manifest import manifest_path
from deepgguf.models.match import Model, Selection, read_model
from deepgguf.planning.build import plan_model
from deepgguf.planning.options import Options, check_options
from deepgguf.planning.schema import Plan, PlannedFile
from deepgguf.planning.sized_file import sized_file
from deepgguf.planning.split import cut_file
from deepgguf.remaking.chosen import (
    ENTRIES_COUNT,
    MATRIX_NAME,
    drafts,
    mtp_of,
    possible_choices,
    types_of,
    with_types_of,
)
from deepgguf.verification.counterparts import find_layout
from deepgguf.verification.expected import Expected, ExpectedFile
from deepgguf.verification.stored_hashes import read_stored_hashes

_FILE_TYPE = "general.file_type"
_LONGEST_NAME = 255


class Replanned(msgspec.Struct, frozen=True):
    """What a file must be, and the plan that says so; no plan for a file of another model."""

    expected: Expected
    plan: Plan | None = None


def plan_again(headers: Sequence[GGUFHeader], checkpoint: Checkpoint, given: Mapping[str, Any]) -> Replanned:
    """Plans the conversion of `checkpoint` that `headers` are of.

    `given` has the parsed choices of the caller. Of others the manifest counts as far as it agrees with the files, then
    what they show themselves.

    UsageError for choices that make no sense, CheckpointError for a faulty checkpoint, VerificationError for a manifest
    that is none.
    """
    stored = read_stored_hashes(manifest_path(headers[0].path))
    model = read_model(checkpoint, Selection(mtp=mtp_of(headers), drop=given.get("drop", ()), draft=drafts(headers)))
    given = {**_pre_chosen(headers[0], checkpoint), **given}
    layout = find_layout(headers, model, given.get("target"))
    if layout is None:
        return Replanned(Expected(checkpoint, model))
    told, named = (stored.type, stored.source) if stored else ("", "")
    candidates = list(possible_choices(headers, layout, told, given, checkpoint.files))
    planner = _Planner(headers, model, checkpoint)
    planned = _most_alike(planner, candidates, told, given)
    plan = _by_its_name(planner, planned, named)
    file = _with_its_word(plan.files[0], headers[0], MATRIX_NAME if "imatrix" in given else ENTRIES_COUNT)
    files = tuple(_split(file, headers))
    expected = Expected(
        checkpoint=checkpoint,
        model=model,
        layout=layout,
        files=tuple(_expected(file) for file in files),
        type=plan.type,
        chosen=planned.chosen,
        importance={t.info.name: t.importance for t in file.tensors if t.importance},
        importance_file=plan.importance if "imatrix" in given else None,
    )
    return Replanned(expected, msgspec.structs.replace(plan, files=files))


def _pre_chosen(header: GGUFHeader, checkpoint: Checkpoint) -> dict[str, Any]:
    """The pre-tokenizer that the file names, where its checkpoint tells none: then the caller has chosen it."""
    pre = header.keys.get("tokenizer.ggml.pre")
    told = checkpoint.tokenizer.pre.name is not None
    return {} if told or pre is None or pre.value not in KNOWN_NAMES else {"pre": pre.value}


class _Planner(NamedTuple):
    """Plans the same checkpoint, which the files are of, by any choices."""

    headers: Sequence[GGUFHeader]
    model: Model
    checkpoint: Checkpoint

    def plan(self, options: Options) -> Plan:
        check_options(options)
        return plan_model(self.model, self.checkpoint, options)

    def differing(self, plan: Plan) -> int:
        """How many of the files' tensors have another type than by the plan."""
        types = types_of(self.headers)
        return sum(types.get(t.info.name, t.info.type) != t.info.type for t in plan.files[0].tensors)


class _Planned(NamedTuple):
    """A plan, the choices that it is by, how many types are not the files', how many were chosen one by one."""

    plan: Plan
    options: Options
    wrong: int
    chosen: int = 0

    def says(self, name: str, header: GGUFHeader) -> bool:
        """Whether the plan has this key as the file has it."""
        return self.plan.files[0].keys.get(name) == header.keys.get(name)


def _most_alike(planner: _Planner, candidates: Sequence[Options], told: str, given: Mapping[str, Any]) -> _Planned:
    """The first plan that gives every tensor the type that it has, if possible one of the same `general.file_type`;
    else the one that is believed, with single types chosen; else the one that gives most tensors their type.
    """
    headers, refusal = planner.headers, None
    found: list[_Planned] = []
    for options in candidates:
        try:
            plan = planner.plan(options)
        except UsageError as error:  # q2_k_s without an importance matrix
            refusal = refusal or error
            continue
        found.append(_Planned(plan, options, planner.differing(plan)))
        if not found[-1].wrong and found[-1].says(_FILE_TYPE, headers[0]):
            return found[-1]
    if not found:
        assert refusal is not None
        raise refusal
    believed, best = found[0], min(found, key=lambda one: one.wrong)
    one_by_one = with_types_of(headers, believed.options, given)
    if one_by_one is None or (not best.wrong and believed.options.type != told):
        return best
    plan = planner.plan(one_by_one)
    chosen = _Planned(plan, one_by_one, planner.differing(plan), believed.wrong)
    return chosen if chosen.wrong <= best.wrong else best


def _by_its_name(planner: _Planner, planned: _Planned, told: str) -> Plan:
    """The plan; that of a checkpoint with the name that the manifest tells, if the files are called by that one."""
    checkpoint, headers = planner.checkpoint, planner.headers
    named = told != checkpoint.name and told.isprintable() and len(told) <= _LONGEST_NAME
    if not told or not named or _general(planned.plan.files[0].keys) == _general(headers[0].keys):
        return planned.plan
    plan = planner._replace(checkpoint=msgspec.structs.replace(checkpoint, name=told)).plan(planned.options)
    same = _general(plan.files[0].keys) == _general(headers[0].keys)
    return plan if same else planned.plan


def _general(keys: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in keys.items() if name.startswith("general.") and name != _FILE_TYPE}


def _with_its_word(file: PlannedFile, header: GGUFHeader, key: str) -> PlannedFile:
    """The file with what it says of its importance matrix itself: how many entries one has that is not at hand, or what
    one was called that may have been renamed since.
    """
    planned, said = file.keys.get(key), header.keys.get(key)
    if planned is None or said is None or said.type is not planned.type:
        return file
    return sized_file(file.name, file.kind, file.keys | {key: said}, file.tensors)


def _split(file: PlannedFile, headers: Sequence[GGUFHeader]) -> list[PlannedFile]:
    """As many files as there are, each with as many tensors; what is left over goes into the last."""
    if SPLIT_COUNT not in headers[0].keys:
        return [file]
    ends = [*accumulate(len(header.tensors) for header in headers[:-1]), len(file.tensors)]
    return cut_file(file, [file.tensors[start:end] for start, end in pairwise((0, *ends))])


def _expected(file: PlannedFile) -> ExpectedFile:
    infos = tuple(tensor.info for tensor in file.tensors)
    return ExpectedFile(file.keys, infos, encode_header(file.keys, infos), file.size)
