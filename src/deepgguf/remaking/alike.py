"""The plan, among those of all choices that may have been made, that finished files are most alike."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import msgspec

from deepgguf.errors import UsageError
from deepgguf.formats.gguf.encode import encode_header
from deepgguf.formats.gguf.split_set import LAYOUT_KEYS, SPLIT_COUNT
from deepgguf.formats.gguf.types import GGUFHeader
from deepgguf.planning.arrange_gguf import JOINED
from deepgguf.planning.options import Options
from deepgguf.planning.schema import Plan, PlannedFile
from deepgguf.planning.sized_file import sized_file
from deepgguf.planning.split import cut_file
from deepgguf.remaking.chosen import ENTRIES_COUNT, FILE_TYPE, MATRIX_NAME, types_of, with_types_of
from deepgguf.verification.expected import Expected, ExpectedFile


class Replanned(msgspec.Struct, frozen=True):
    """What a file must be, and the plan that says so; no plan for a file of another model."""

    expected: Expected
    plan: Plan | None = None


class Planned(NamedTuple):
    """A plan, the choices that it is by, how many types are not the files', how many were chosen one by one."""

    plan: Plan
    options: Options
    wrong: int
    chosen: int = 0


def most_alike(
    headers: Sequence[GGUFHeader], candidates: Sequence[Options], make: Callable[[Options], Plan], told: str,
    given: Mapping[str, Any],
) -> Planned:  # fmt: skip
    """The first plan that gives every tensor the type that it has, if possible one of the same `general.file_type`;
    else the one that is believed, with single types chosen; else the one that gives most tensors their type.

    `make` plans by choices, `told` is the type that the manifest names, and `given` has the caller's choices.
    UsageError if no plan can be made.
    """
    refusal = None
    found: list[Planned] = []
    for options in candidates:
        try:
            plan = make(options)
        except UsageError as error:  # q2_k_s without an importance matrix
            refusal = refusal or error
            continue
        found.append(Planned(plan, options, differing(headers, plan)))
        if not found[-1].wrong and plan.files[0].keys.get(FILE_TYPE) == headers[0].keys.get(FILE_TYPE):
            return found[-1]
    if not found:
        assert refusal is not None
        raise refusal
    believed, best = found[0], min(found, key=lambda one: one.wrong)
    one_by_one = with_types_of(headers, believed.options, given)
    if one_by_one is None or (not best.wrong and believed.options.type != told):
        return best
    plan = make(one_by_one)
    chosen = Planned(plan, one_by_one, differing(headers, plan), believed.wrong)
    return chosen if chosen.wrong <= best.wrong else best


def differing(headers: Sequence[GGUFHeader], plan: Plan) -> int:
    """How many of the files' tensors have another type than by the plan."""
    types = types_of(headers)
    return sum(types.get(t.info.name, t.info.type) != t.info.type for t in plan.files[0].tensors)


def with_its_word(file: PlannedFile, header: GGUFHeader, given: Mapping[str, Any]) -> PlannedFile:
    """The file with what it says of its importance matrix itself: how many entries one has that is not at hand, or what
    one was called that may have been renamed since.
    """
    key = MATRIX_NAME if "imatrix" in given else ENTRIES_COUNT
    planned, said = file.keys.get(key), header.keys.get(key)
    if planned is None or said is None or said.type is not planned.type:
        return file
    return sized_file(file.name, file.kind, file.keys | {key: said}, file.tensors)


def split_alike(file: PlannedFile, headers: Sequence[GGUFHeader]) -> list[PlannedFile]:
    """As many files as there are, each with as many tensors; what is left over goes into the last.

    The keys of a set are in the order of the files', and one file that says that it was joined is one (gguf-split.cpp).
    """
    if SPLIT_COUNT not in headers[0].keys:
        return [file]
    ends = [*accumulate(len(header.tensors) for header in headers[:-1]), len(file.tensors)]
    files = cut_file(file, [file.tensors[start:end] for start, end in pairwise((0, *ends))])
    return [_with_split_keys(*both) for both in zip(files, headers, strict=True)]


def _with_split_keys(file: PlannedFile, header: GGUFHeader) -> PlannedFile:
    keys = dict(file.keys)
    if header.keys.get(SPLIT_COUNT) == JOINED:
        keys[SPLIT_COUNT] = JOINED
    for name in (name for name in header.keys if name in LAYOUT_KEYS and name in keys):
        keys[name] = keys.pop(name)
    return sized_file(file.name, file.kind, keys, file.tensors)


def expected_file(file: PlannedFile) -> ExpectedFile:
    """What a file must be that is planned so."""
    infos = tuple(tensor.info for tensor in file.tensors)
    return ExpectedFile(file.keys, infos, encode_header(file.keys, infos), file.size)
