"""Names of the language model's tensors in GGUF, the same in both targets (gguf-py constants.py, TENSOR_NAMES)."""

from deepgguf.architectures.tensors import Role

_NAMES = {
    "token_embd": "token_embd",
    "output_norm": "output_norm",
    "output": "output",
    "attn_norm": "attn_norm",
    "ffn_norm": "ffn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "q_a": "attn_q_a",
    "q_a_norm": "attn_q_a_norm",
    "q_b": "attn_q_b",
    "kv_a_mqa": "attn_kv_a_mqa",
    "kv_a_norm": "attn_kv_a_norm",
    "kv_b": "attn_kv_b",
    "attn_output": "attn_output",
    "router": "ffn_gate_inp",
    "router_bias": "exp_probs_b",
    **{f"{w}{s}": f"ffn_{w}{s}" for w in ("gate", "up", "down") for s in ("", "_exps", "_shexp")},
}


def language_name(role: Role) -> str:
    """`blk.3.attn_kv_b.weight` for kv_b of block 3; every expert of a stack has the stack's name."""
    block = "" if role.block is None else f"blk.{role.block}."
    return f"{block}{_NAMES[role.kind]}.{role.part}"
