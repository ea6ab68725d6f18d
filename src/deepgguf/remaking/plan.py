"""The plan by which a finished file was made of a checkpoint, as far as it can be told, and what it must be by that."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.nested_config import language_part
from deepgguf.checkpoint.pre_tokenizer import KNOWN_NAMES
from deepgguf.formats.gguf.types import GGUFHeader, Value
from deepgguf.formats.manifest import manifest_path
from deepgguf.models.family import AnyFamily
from deepgguf.models.match import Model, Selection, read_model
from deepgguf.planning.build import plan_model
from deepgguf.planning.options import Options, check_options
from deepgguf.planning.schema import Plan
from deepgguf.remaking.alike import Planned, Replanned, expected_file, most_alike, split_alike, with_its_word
from deepgguf.remaking.chosen import FILE_TYPE, drafts, mtp_of, possible_choices
from deepgguf.verification.counterparts import find_layout
from deepgguf.verification.expected import Expected, SourceFiles
from deepgguf.verification.report import Difference
from deepgguf.verification.stored_hashes import read_stored_hashes

_LONGEST_NAME = 255


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
    tied = language_part(checkpoint.config).get("tie_word_embeddings") is True
    source = SourceFiles(checkpoint.name, checkpoint.files, checkpoint.shards.files, checkpoint.tensors if tied else {})
    if layout is None:
        return Replanned(Expected(source, _another_model(headers[0], model.family)))
    told, named = (stored.type, stored.source) if stored else ("", "")
    origins, fixed = layout.origins(), {"target": layout.name, "only": layout.kind}
    shapes = {name: origin.shape for name, origin in origins.items()}
    candidates = list(possible_choices(headers, shapes, told, given | fixed, checkpoint.files))
    planned = most_alike(headers, candidates, lambda options: _plan(model, checkpoint, options), told, given)
    plan = _by_its_name(headers, model, checkpoint, planned, named)
    file = with_its_word(plan.files[0], headers[0], given)
    files = tuple(split_alike(file, headers))
    expected = Expected(
        source=source,
        origins=origins,
        files=tuple(map(expected_file, files)),
        target=layout.name,
        type=plan.type,
        chosen=planned.chosen,
        dropped=Counter(model.matched.left_out.values()),
        importance={t.info.name: t.importance for t in file.tensors if t.importance},
        importance_file=plan.importance if "imatrix" in given else None,
    )
    return Replanned(expected, msgspec.structs.replace(plan, files=files))


def _another_model(header: GGUFHeader, family: AnyFamily) -> Difference:
    value = header.keys.get("general.architecture")
    known = {file.architecture for target in family.targets.values() for file in target.files.values()}
    text, expected = f"the source is a {family.name}", " or ".join(sorted(known))
    return Difference("key general.architecture", text, expected, repr(value.value) if value else "no such key")


def _pre_chosen(header: GGUFHeader, checkpoint: Checkpoint) -> dict[str, Any]:
    """The pre-tokenizer that the file names, where its checkpoint tells none: then the caller has chosen it."""
    pre = header.keys.get("tokenizer.ggml.pre")
    told = checkpoint.tokenizer.pre.name is not None
    return {} if told or pre is None or pre.value not in KNOWN_NAMES else {"pre": pre.value}


def _plan(model: Model, checkpoint: Checkpoint, options: Options) -> Plan:
    check_options(options)
    return plan_model(model, checkpoint, options)


def _by_its_name(
    headers: Sequence[GGUFHeader], model: Model, checkpoint: Checkpoint, planned: Planned, told: str
) -> Plan:
    """The plan; that of a checkpoint with the name that the manifest tells, if the files are called by that one."""
    named = told != checkpoint.name and told.isprintable() and len(told) <= _LONGEST_NAME
    if not told or not named or _general(planned.plan.files[0].keys) == _general(headers[0].keys):
        return planned.plan
    plan = _plan(model, msgspec.structs.replace(checkpoint, name=told), planned.options)
    same = _general(plan.files[0].keys) == _general(headers[0].keys)
    return plan if same else planned.plan


def _general(keys: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in keys.items() if name.startswith("general.") and name != FILE_TYPE}
