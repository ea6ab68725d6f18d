"""A journal belongs to a plan: whatever decides a byte is in the plan's hash."""

import msgspec

import deepgguf
from deepgguf.planning.identity import file_identity
from golden import GOLDENS

MATRICES = GOLDENS / "imatrix"


def identity(plan) -> str:
    return file_identity(plan, plan.files[0])


def test_two_importance_matrices_make_two_plans(checkpoint):
    source, names = checkpoint("v3-bf16"), ("imatrix-v3-bf16.gguf", "imatrix-v3-bf16.dat")
    with_each = [deepgguf.plan(source, type="q4_k_m", imatrix=MATRICES / name) for name in names]
    assert len({identity(plan) for plan in (*with_each, deepgguf.plan(source, type="q4_k_m"))}) == 3


def test_other_values_under_the_same_names_make_another_plan(checkpoint):
    plan = deepgguf.plan(checkpoint("v3-bf16"), type="q4_k_m", imatrix=MATRICES / "imatrix-v3-bf16.gguf")
    other = msgspec.structs.replace(plan.importance, digest="0" * 32)
    assert identity(msgspec.structs.replace(plan, importance=other)) != identity(plan)


def test_the_size_of_a_piece_and_the_size_of_a_source_are_in_the_hash(checkpoint):
    plan = deepgguf.plan(checkpoint("v3-bf16"))
    longer = tuple(msgspec.structs.replace(source, size=source.size + 1) for source in plan.sources)
    assert identity(msgspec.structs.replace(plan, piece_weights=1000)) != identity(plan)
    assert identity(msgspec.structs.replace(plan, sources=longer)) != identity(plan)


def test_where_the_source_lies_and_when_it_was_changed_are_not(checkpoint, tmp_path):
    plan = deepgguf.plan(checkpoint("v3-bf16"))
    touched = tuple(msgspec.structs.replace(source, version="0") for source in plan.sources)
    assert identity(msgspec.structs.replace(plan, sources=touched, folder=tmp_path)) == identity(plan)
