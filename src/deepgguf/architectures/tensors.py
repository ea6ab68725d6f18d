"""What a checkpoint must contain, as roles: names on the side of Hugging Face, shapes that follow from the config."""

import enum

import msgspec


class Component(enum.StrEnum):
    """The part of a model that a tensor belongs to."""

    LANGUAGE = "language"
    CLIP = "clip"
    SAM = "sam"
    PROJECTOR = "projector"


class Role(msgspec.Struct, frozen=True, gc=False):
    """What a tensor is for, independent of any naming scheme.

    `kind` is the field's word for it (`kv_b`, `gate`, `norm1`); `part` is "weight", "bias" or "" where the checkpoint
    has a bare parameter; `block` and `expert` are numbers where the tensor belongs to one.
    """

    component: Component
    kind: str
    part: str = "weight"
    block: int | None = None
    expert: int | None = None


class ExpectedTensor(msgspec.Struct, frozen=True, gc=False):
    """A tensor that the config promises: its name in the checkpoint, its role, its shape (row-major)."""

    name: str
    role: Role
    shape: tuple[int, ...]
