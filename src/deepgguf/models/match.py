"""What a table promises against what the shards hold: every source tensor is used once or left out with a reason."""

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import NamedTuple

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.diagnosis import PROMISED, Seen, missing_tensor, unknown_tensors
from deepgguf.checkpoint.nested_config import with_language_field
from deepgguf.checkpoint.quantization import declared_quantization, drop_reason
from deepgguf.checkpoint.tied_head import HEAD
from deepgguf.choices import Mtp
from deepgguf.encodings import weight_of
from deepgguf.encodings.beside import Beside
from deepgguf.encodings.encoding import Encoding
from deepgguf.encodings.foreign import convert_the_original, tool_of
from deepgguf.encodings.opaque import Opaque
from deepgguf.errors import CheckpointError, UsageError
from deepgguf.models import find_family
from deepgguf.models.family import AnyFamily
from deepgguf.models.mtp import KEPT, MTP_DROPPED, TRUNK_DROPPED, not_of_mtp, possible_mtp
from deepgguf.models.table import Kind, Part, Row
from deepgguf.tensors.source_tensor import SourceTensor

_CONFIG = "config.json"
# attention_bias and mlp_bias of config.json, and what no DeepSeek has; not the router's, which is another thing.
_BIAS = re.compile(r"(?!.*(correction_bias|indexer))(model\.(layers|norm)\.(.*[._])?|lm_head\.)bias")
_NUMBER = re.compile(r"\.(0|[1-9][0-9]*|\{\})(?=\.)")
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
    seen = checkpoint.seen
    tensors = seen.tensors
    reasons = _asked_for(tensors, selection.drop)
    said = checkpoint.config
    if checkpoint.own_head and HEAD in reasons:
        said = with_language_field(said, "tie_word_embeddings", True)
    config = family.measured(family.parse(said, _CONFIG), tensors)
    _check_tool(checkpoint)
    if selection.draft:
        return Model(family, config, _draft(family, config, seen))
    mtp, layers = _mtp_layers(family, config, selection, tensors)
    rows = _rows(_Table(family, config, layers), seen, reasons)
    out = [(row, why) for row, _ in rows if (why := _why_out(row, mtp, selection.target))]
    reasons |= {name: why for row, why in out for name in row.names}
    kept = tuple((row, sources) for row, sources in rows if not _why_out(row, mtp, selection.target))
    explained = {name for row, _ in kept for name in row.names}
    explained |= reasons.keys()
    reasons |= _left_out(family, config, explained, seen)
    return Model(family, config, Matched(kept, reasons), mtp, layers)


def _why_out(row: Row, mtp: Mtp, target: str) -> str:
    """Why a row is not in the files that are wanted; empty if it is."""
    if row.part not in KEPT[mtp]:
        return TRUNK_DROPPED
    return f"not part of a file for {target}" if target and target not in row.outputs else ""


def _draft(family: AnyFamily, config: object, seen: Seen) -> Matched:
    """What drafts; UsageError for a checkpoint without."""
    rows = _rows(_Table(family, config, draft=True), seen, ())
    if not rows:
        raise UsageError("`draft`", "config.json describes no draft model (DSpark stages)", "leave it out")
    used = {name for row, _ in rows for name in row.names}
    return Matched(tuple(rows), {name: DRAFTED_FOR for name in seen.tensors if name not in used})


def _check_tool(checkpoint: Checkpoint) -> None:
    """CheckpointError if config.json names a tool that deepgguf does not read, and hardly a weight has its usual name:
    such a checkpoint is complete, though everything that the table promises seems to be missing.
    """
    quantization = declared_quantization(checkpoint.config)
    tool = tool_of(quantization)
    if tool and 2 * sum(name.endswith(".weight") for name in checkpoint.tensors) < len(checkpoint.tensors):
        found = f"its weights are quantized by {tool}, which deepgguf does not read"
        raise CheckpointError(_CONFIG, found, convert_the_original(quantization))


def _mtp_layers(family: AnyFamily, config: object, selection: Selection, tensors: Iterable[str]) -> tuple[Mtp, int]:
    """What becomes of the layers of multi-token prediction, and of how many: none if none are there."""
    mtp = selection.mtp or "drop"
    if selection.target in family.targets:
        mtp = possible_mtp(family, selection.target, selection.mtp)
    layers = 0 if mtp == "drop" else family.mtp_layers(config)
    # save_pretrained writes none, and leaves the promise in config.json.
    if layers and any(family.drop_reason(config, weight_of(name)) == MTP_DROPPED for name in tensors):
        return mtp, layers
    return "drop", 0


def _asked_for(tensors: Mapping[str, SourceTensor], patterns: Iterable[str]) -> dict[str, str]:
    """The reason for what the patterns find in names, be they those of the files or of the table.

    UsageError for a pattern that finds nothing.
    """
    reasons: dict[str, str] = {}
    for pattern in patterns:
        search = re.compile(pattern).search
        found = [name for name, tensor in tensors.items() if search(name) or search(tensor.name_in_files)]
        if not found:
            advice = "give a part of a name as its shards have it, or leave it out"
            raise UsageError("`drop`", f"{pattern!r} matches no tensor of the checkpoint", advice)
        reasons |= dict.fromkeys(found, ASKED_FOR)
    return reasons


class _Table(NamedTuple):
    """What a model with so many layers of multi-token prediction is made of, or what drafts for it."""

    family: AnyFamily
    config: object
    mtp_layers: int = 0
    draft: bool = False

    @property
    def rows(self) -> Iterable[Row]:
        if self.draft:
            return self.family.draft_table(self.config)
        return self.family.table(self.config, self.mtp_layers)

    def without_a_place(self, names: Collection[str]) -> tuple[str, ...]:
        """Those of `names` that are like no name of the table but for numbers, and that nothing drops."""
        rows = islice(self.rows, len(names))  # absurd counts cost nothing
        known = {_numberless(name) for row in rows for name in (row.source, row.beside)}
        strange = (name for name in names if _numberless(weight_of(name)) not in known)
        return tuple(name for name in strange if _why_dropped(self.family, self.config, name) is None)


def _numberless(name: str) -> str:
    return _NUMBER.sub("", name)


def _why_dropped(family: AnyFamily, config: object, name: str) -> str | None:
    return family.drop_reason(config, weight_of(name)) or drop_reason(name)


def _rows(table: _Table, seen: Seen, asked_for: Collection[str]) -> list[tuple[Row, tuple[SourceTensor, ...]]]:
    """Gives every row its sources. CheckpointError names what is missing, unreadable, or of a wrong shape."""
    if asked_for:
        left = {name: tensor for name, tensor in seen.tensors.items() if name not in asked_for}
        seen = msgspec.structs.replace(seen, tensors=left)
    rows = []
    for row in table.rows:
        if not (row.optional and row.source not in seen.tensors):
            rows.append((row, _sources(row, table, seen, asked_for)))
    return rows


def _sources(row: Row, table: _Table, seen: Seen, asked_for: Collection[str]) -> tuple[SourceTensor, ...]:
    sources = []
    for name in row.names:
        found = seen.tensors.get(name)
        if found is None:
            raise _needed(name) if name in asked_for else _missing(name, row, table, seen)
        if row.form:
            found = _read_as(row.form, found)
        if isinstance(found.encoding, Opaque):
            found.encoding.refuse()
        if found.shape != row.shape:
            raise _misshapen(row, found)
        sources.append(found)
    return (_beside(*sources),) if row.beside else tuple(sources)


def _beside(left: SourceTensor, right: SourceTensor) -> SourceTensor:
    form, cols = Beside(left.encoding, right.encoding, left.shape[-1]), left.shape[-1] + right.shape[-1]
    return SourceTensor(left.name, (left.shape[0], cols), form, (*left.blobs, *right.blobs), left.spelled)


def _read_as(form: Encoding, found: SourceTensor) -> SourceTensor:
    stored = found.encoding.stored_as if isinstance(found.encoding, Opaque) else found.encoding.dtype
    if stored != form.dtype:
        raise CheckpointError(f"tensor {found.name_in_files}", f"dtype {stored}, expected {form.dtype}")
    return msgspec.structs.replace(found, encoding=form)


def _needed(name: str) -> UsageError:
    return UsageError("`drop`", f"would drop {name}, which the model needs", "give a narrower pattern")


def _missing(name: str, row: Row, table: _Table, seen: Seen) -> CheckpointError:
    if row.part is not Part.MTP:
        return missing_tensor(name, msgspec.structs.replace(seen, placeless=table.without_a_place(seen.tensors)))
    advice = 'the MTP layer is incomplete: choose `mtp="drop"`, or download the missing shard'
    return CheckpointError(f"tensor {name}", PROMISED, advice)


def _misshapen(row: Row, found: SourceTensor) -> CheckpointError:
    shapes = f"shape {list(found.shape)}, expected {list(row.shape)} by config.json"
    advice = "config.json and weights belong to different models"
    if row.kind is Kind.VOCABULARY and found.shape[1:] == row.shape[1:]:
        rows = found.shape[0]
        advice = f"if the embedding was resized and vocab_size not updated, set vocab_size to {rows} in config.json"
    elif row.kind is Kind.ROUTER and found.shape[1:] == row.shape[1:]:
        advice = f"if experts were removed or added, set n_routed_experts to {found.shape[0]} in config.json"
    return CheckpointError(f"tensor {found.name_in_files}", shapes, advice)


def _left_out(family: AnyFamily, model: object, used: set[str], seen: Seen) -> dict[str, str]:
    """The reason for every tensor that is left out; CheckpointError if there is none for one."""
    reasons: dict[str, str] = {}
    unknown, tensors = [], seen.tensors
    for name in tensors:
        if name not in used:
            reason = _why_dropped(family, model, name)
            if reason:
                reasons[name] = reason
            else:
                unknown.append(name)
    if unknown:
        first = tensors[unknown[0]].encoding
        if isinstance(first, Opaque) and weight_of(unknown[0]) != unknown[0]:
            first.refuse()  # scales without weights
        bias = next(filter(_BIAS.fullmatch, unknown), None)
        if bias:
            found = "is a bias, and the engines' language model has no tensor for it"
            raise CheckpointError(f"tensor {tensors[bias].name_in_files}", found, "no engine can run this model")
        raise unknown_tensors([tensors[name].name_in_files for name in unknown], seen)
    _check_mtp([name for name, reason in reasons.items() if reason == MTP_DROPPED], tensors)
    return reasons


def _check_mtp(dropped: Collection[str], tensors: Mapping[str, SourceTensor]) -> None:
    """CheckpointError if what would be dropped for a layer of multi-token prediction is one of the model."""
    layer, name = not_of_mtp(dropped) or (0, "")
    if name:
        found = "belongs to a layer beyond num_hidden_layers, which is not one of multi-token prediction"
        advice = f"set num_hidden_layers to {layer + 1} in config.json, or leave such layers out with `drop`"
        raise CheckpointError(f"tensor {tensors[name].name_in_files}", found, advice)
