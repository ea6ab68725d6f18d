"""The names that tools give to the tensors of one model, and what its own code calls them.

Trainers, adapters, compilers and wrappers put something before every name, or between two parts of it. The embedding
says what: every checkpoint has one, and whatever stands before `embed_tokens.weight` there stands before the others.
"""

import re
from collections.abc import Collection

from deepgguf.checkpoint.tower_names import SIGN, released_name
from deepgguf.errors import CheckpointError

# Modules that hold one other module, whose names a tool leaves wherever it wrapped one: torch.compile
# (torch/_dynamo/eval_frame.py), FSDP and activation checkpointing (torch/distributed).
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")

# What stands for "model." before embed_tokens, layers and norm, the longest first: models with vision since
# transformers 4.52 and before, those that hold a model without its head, and what AutoModel saves. Anything that
# precedes it stands before every name: "module." (DistributedDataParallel, DeepSpeed), "base_model.model." (PEFT).
BODIES = (
    "model.language_model.model.",
    "model.language_model.",
    "language_model.model.",
    "language_model.",
    "model.",
    "",
)

_BODY = "model."
_EMBEDDING = "embed_tokens.weight"
_HEAD = "lm_head."
_OF_MTP = re.compile(r"layers\.|\bmtp")
_WRAPPER = re.compile(rf"(?:(?<=\.)|(?<![^\n]))(?:{'|'.join(WRAPPERS)})\.")


def renamed(names: Collection[str]) -> dict[str, str]:
    """What the model's own code calls each of `names`, in their order; empty if all are called so.

    CheckpointError names both tensors if two would have one name, and both embeddings if there are two models.
    """
    text = "\n".join(names)
    wrapped = any(wrapper in text for wrapper in WRAPPERS)
    inner = _WRAPPER.sub("", text).split("\n") if wrapped else list(names)
    body = _body(inner)
    if body == _BODY and not wrapped and _BODY + _HEAD not in text:
        return {}
    if body is not None:
        root = body.removesuffix(next(known for known in BODIES if body.endswith(known)))
        inner = [_without_prefix(name, root, body) for name in inner]
    if SIGN in text:
        inner = [released_name(name) for name in inner]
    if inner == list(names):
        return {}
    found = dict(zip(names, inner, strict=True))
    _check_one_each(found)
    return found


def _body(names: Collection[str]) -> str | None:
    """What stands before the embedding; None if there is none. MTP layers have copies of it, which do not count."""
    found = [n.removesuffix(_EMBEDDING) for n in names if n.endswith(_EMBEDDING) and not _OF_MTP.search(n)]
    bodies = [body for body in found if body == "" or body.endswith(".")]
    if len(bodies) > 1:
        first, second = (body + _EMBEDDING for body in bodies[:2])
        raise CheckpointError(
            f"tensor {first}", f"{second} is there too: the shards hold two models", "keep the shards of one of them"
        )
    return bodies[0] if bodies else None


def _without_prefix(name: str, root: str, body: str) -> str:
    """A head may stand at every level that the body lies in."""
    before, head, rest = name.partition(_HEAD)
    if head and body.startswith(before):
        return head + rest
    if name.startswith(body):
        return _BODY + name[len(body) :]
    return name.removeprefix(root)


def _check_one_each(found: dict[str, str]) -> None:
    first: dict[str, str] = {}
    for name, new in found.items():
        other = first.setdefault(new, name)
        if other != name:
            advice = "keep the shards of one model"
            raise CheckpointError(f"tensor {name}", f"{other} is there too, and both are {new}", advice)
