"""What a table promises against what the shards hold: every source tensor is used once or left out with a reason."""

import re
from collections.abc import Container, Iterable, Mapping, Sequence

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.quantization import declared_quantization, drop_reason
from deepgguf.choices import Mtp
from deepgguf.encodings import weight_of
from deepgguf.encodings.beside import Beside
from deepgguf.encodings.encoding import Encoding
from deepgguf.encodings.foreign import convert_the_original, tool_of
from deepgguf.encodings.opaque import Opaque
from deepgguf.errors import CheckpointError, UsageError
from deepgguf.models import find_family
from deepgguf.models.family import AnyFamily
from deepgguf.models.mtp import KEPT, MTP_DROPPED, TRUNK_DROPPED, possible_mtp
from deepgguf.models.table import Part, Row
from deepgguf.tensors.source_tensor import SourceTensor

_CONFIG = "config.json"
ASKED_FOR = "asked for"
DRAFTED_FOR = "the model that it drafts for"


class Matched(msgspec.Struct, frozen=True):
    """Every row of the table with its source tensors, by expert; what is left out, and why."""

    rows: tuple[tuple[Row, tuple[SourceTensor, ...]], ...]
    left_out: Mapping[str, str]


class Selection(msgspec.Struct, frozen=True):
    """What is wanted of a checkpoint.

    `mtp` None is what is usual for `target`, which only then must be given. Tensors whose name one of the regular
    expressions in `drop` finds are left out. `draft`: only the model that drafts for this one.
    """

    target: str = ""
    mtp: Mtp | None = None
    drop: tuple[str, ...] = ()
    draft: bool = False


class Model(msgspec.Struct, frozen=True):
    """The family that a checkpoint belongs to, its typed config, and the source tensors of the family's table.

    `mtp` says which of its parts are there, `mtp_layers` how many layers of multi-token prediction.
    """

    family: AnyFamily
    config: object
    matched: Matched
    mtp: Mtp = "drop"
    mtp_layers: int = 0


def read_model(checkpoint: Checkpoint, selection: Selection) -> Model:
    """The model in `checkpoint`; CheckpointError if it is of an unknown family, or config and tensors do not agree.

    UsageError for a selection that makes no sense: of MTP layers that `target` cannot have, of tensors that are needed.
    """
    family = find_family(checkpoint.config, _CONFIG)
    config = family.parse(checkpoint.config, _CONFIG)
    _check_tool(checkpoint)
    if selection.draft:
        return Model(family, config, _draft(family, config, checkpoint.tensors))
    mtp, tensors = selection.mtp or "drop", checkpoint.tensors
    if selection.target in family.targets:
        mtp = possible_mtp(family, selection.target, selection.mtp)
    layers = 0 if mtp == "drop" else family.mtp_layers(config)
    if layers and not any(family.drop_reason(config, weight_of(name)) == MTP_DROPPED for name in tensors):
        layers = 0  # save_pretrained writes none, and leaves the promise in config.json
    mtp = mtp if layers else "drop"
    asked_for = _matching(tensors, selection.drop)
    rows = _rows(family.table(config, layers), tensors, asked_for)
    kept = tuple((row, sources) for row, sources in rows if row.part in KEPT[mtp])
    reasons = {source.name: TRUNK_DROPPED for row, sources in rows if row.part not in KEPT[mtp] for source in sources}
    used = {name for row, _ in rows for name in row.names}
    left_out = _left_out(family, config, used | asked_for, tensors)
    asked = dict.fromkeys(sorted(asked_for), ASKED_FOR)
    return Model(family, config, Matched(kept, left_out | reasons | asked), mtp, layers)


def _draft(family: AnyFamily, config: object, tensors: Mapping[str, SourceTensor]) -> Matched:
    """What drafts; UsageError for a checkpoint without."""
    rows = _rows(family.draft_table(config), tensors, ())
    if not rows:
        raise UsageError("`draft`", "config.json promises nothing that drafts (DSpark stages)", "leave it out")
    used = {name for row, _ in rows for name in row.names}
    return Matched(tuple(rows), {name: DRAFTED_FOR for name in tensors if name not in used})


def _check_tool(checkpoint: Checkpoint) -> None:
    """CheckpointError if config.json names a tool that deepgguf does not read, and hardly a weight has its usual name:
    such a checkpoint is complete, though everything that the table promises seems to be missing.
    """
    quantization = declared_quantization(checkpoint.config)
    tool, weights = tool_of(quantization), sum(name.endswith(".weight") for name in checkpoint.tensors)
    if tool and 2 * weights < len(checkpoint.tensors):
        found = f"its weights are quantized by {tool}, which deepgguf does not read"
        raise CheckpointError(_CONFIG, found, convert_the_original(quantization))


def _matching(tensors: Mapping[str, SourceTensor], patterns: Sequence[str]) -> set[str]:
    """The names of what the patterns find, by the names in the files or by those of the table."""
    return {name for name, tensor in tensors.items() for pattern in patterns if finds(pattern, tensor)}


def finds(pattern: str, tensor: SourceTensor) -> bool:
    """Whether the regular expression is found in the tensor's name, or in the one that it has in the files."""
    return any(re.search(pattern, name) for name in (tensor.name, tensor.name_in_files))


def _rows(
    table: Iterable[Row], tensors: Mapping[str, SourceTensor], asked_for: Container[str]
) -> list[tuple[Row, tuple[SourceTensor, ...]]]:
    """Gives every row its sources. CheckpointError names what is missing, unreadable, or of a wrong shape."""
    rows = []
    for row in table:
        absent = next((name for name in row.names if name not in tensors or name in asked_for), None)
        if absent is None:
            rows.append((row, _sources(row, tensors)))
        elif not row.optional:
            raise _needed(absent) if absent in asked_for else _missing(absent, row)
    return rows


def _sources(row: Row, tensors: Mapping[str, SourceTensor]) -> tuple[SourceTensor, ...]:
    found = [_source(row, tensors[name]) for name in row.names]
    return (_beside(*found),) if row.beside else tuple(found)


def _beside(left: SourceTensor, right: SourceTensor) -> SourceTensor:
    form, cols = Beside(left.encoding, right.encoding, left.shape[-1]), left.shape[-1] + right.shape[-1]
    return SourceTensor(left.name, (left.shape[0], cols), form, (*left.blobs, *right.blobs), left.spelled)


def _source(row: Row, found: SourceTensor) -> SourceTensor:
    if row.form:
        found = _read_as(row.form, found)
    if isinstance(found.encoding, Opaque):
        found.encoding.refuse()
    if found.shape != row.shape:
        shapes = f"shape {list(found.shape)}, expected {list(row.shape)} by config.json"
        where = f"tensor {found.name_in_files}"
        raise CheckpointError(where, shapes, "config.json and weights belong to different models")
    return found


def _read_as(form: Encoding, found: SourceTensor) -> SourceTensor:
    stored = found.encoding.stored_as if isinstance(found.encoding, Opaque) else found.encoding.dtype
    if stored != form.dtype:
        raise CheckpointError(f"tensor {found.name_in_files}", f"dtype {stored}, expected {form.dtype}")
    return msgspec.structs.replace(found, encoding=form)


def _needed(name: str) -> UsageError:
    return UsageError("`drop`", f"takes {name}, which the model needs", "give a narrower pattern")


def _missing(name: str, row: Row) -> CheckpointError:
    advice = "download the missing shard, or compare config.json with the original"
    if row.part is Part.MTP:
        advice = 'the MTP layer is incomplete: choose `mtp="drop"`, or download the missing shard'
    return CheckpointError(f"tensor {name}", "config.json promises it, but no shard holds it", advice)


def _left_out(family: AnyFamily, model: object, used: set[str], tensors: Mapping[str, SourceTensor]) -> dict[str, str]:
    """The reason for every tensor that is left out; CheckpointError if there is none for one."""
    reasons: dict[str, str] = {}
    unknown = []
    for name in tensors:
        if name not in used:
            reason = family.drop_reason(model, weight_of(name)) or drop_reason(name)
            if reason:
                reasons[name] = reason
            else:
                unknown.append(name)
    if unknown:
        first = tensors[unknown[0]].encoding
        if isinstance(first, Opaque) and weight_of(unknown[0]) != unknown[0]:
            first.refuse()  # scales without weights
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        found = f"is unknown{more}: config.json does not promise it and there is no reason to drop it"
        where = f"tensor {tensors[unknown[0]].name_in_files}"
        raise CheckpointError(where, found, "if the model does without it, leave it out with `drop`")
    return reasons
