from deepgguf.report.facts import TensorFacts
from deepgguf.report.heat_map import MOST_BLOCKS, Run, bits_map, error_map


def tensor(name: str, type: str, bits: int, error: float | None = None) -> TensorFacts:
    return TensorFacts(name, "BF16", type, 8, bits, error)


def test_neighbors_of_one_type_are_one_run_and_a_block_without_the_tensor_is_a_gap():
    types = {0: ("Q8_0", 8), 1: ("Q4_K", 4), 2: ("Q4_K", 4), 4: ("Q4_K", 4), 5: ("Q8_0", 8)}
    tensors = [tensor(f"blk.{n}.ffn_up.weight", *type) for n, type in types.items()]
    found = bits_map([*tensors, tensor("blk.3.attn_q.weight", "F32", 32), tensor("output.weight", "F32", 32)])
    (dense, attention) = found.lines
    assert (found.blocks, dense.role, attention.role) == ((0, 1, 2, 3, 4, 5), "ffn_up", "attn_q")
    assert dense.runs == (
        Run(0, 1, "b6", "Q8_0 in 0"),
        Run(1, 2, "b3", "Q4_K in 1–2"),
        Run(4, 1, "b3", "Q4_K in 4"),
        Run(5, 1, "b6", "Q8_0 in 5"),
    )
    assert (dense.words, dense.total) == ("Q8_0 in 0, 5; Q4_K in 1–2, 4", "5.60")


def test_an_error_is_shown_by_the_largest_of_its_place():
    errors = {"blk.0.ffn_up.weight": 0.05, "blk.0.ffn_up.bias": 0.07, "blk.1.ffn_up.weight": 0.3}
    tensors = [tensor(name, "Q4_K", 4, error) for name, error in errors.items()]
    (line,) = error_map([*tensors, tensor("blk.2.ffn_up.weight", "F32", 32)]).lines
    assert (line.words, line.total) == ("up to 10 % in 0; over 20 % in 1", "30.00%")


def test_more_blocks_than_any_model_has_are_counted_and_not_drawn():
    found = bits_map([tensor(f"blk.{n}.ffn_up.weight", "Q4_K", 4) for n in range(MOST_BLOCKS + 5)])
    assert (len(found.blocks), found.blocks_left_out, found.lines_left_out) == (MOST_BLOCKS, 5, 0)
