"""The DeepSeek language model that V2, V3 and DeepSeek-OCR share: attention (MLA or plain), dense and MoE blocks.

Shapes: DeepSeek-V2 (arXiv 2405.04434, section 2), DeepSeek-V3 (arXiv 2412.19437, section 2.1) and the published
modeling_deepseek.py of each.
"""

import re
from collections.abc import Iterator

import msgspec

from deepgguf.checkpoint.nested_config import language_part, levels
from deepgguf.errors import CheckpointError
from deepgguf.models.config_fields import unread_fields
from deepgguf.models.config_schema import JsonObject, NotNegative, Positive, PositiveFloat, to_config
from deepgguf.models.config_words import ALIASES, BY_BLOCK, in_own_words
from deepgguf.models.mtp import MTP_DROPPED
from deepgguf.models.no_place import no_place_reason
from deepgguf.models.rope import Scaling, parse_scaling, rope_object, unread_rope
from deepgguf.models.storage import ALWAYS_F32, MATRIX
from deepgguf.models.table import Kind, Output, Part, Row
from deepgguf.tensors.view import Shape, View

_BLOCK = re.compile(r"model\.layers\.(\d{1,9})\.")
_MTP = re.compile(r"(model\.)?mtp(_\w+)?\.")  # as trainers name layers that the original numbers on
_ENCODER = re.compile(
    r"(model\.)?\w*(visi?on|visual|vit|siglip|image|video|view_sep|audio|speech|project|connector|aligner|resampl)"
    r"\w*(\..*)?"
)


class LanguageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a DeepSeek config.json that decide keys, names or shapes, under their own names.

    `scaling` says how positions are stretched. `rotates_halves`: number i of the rotated dimensions goes with number
    i + half, not with its neighbour. `unread` are the fields that nobody looked at.
    """

    vocab_size: Positive
    hidden_size: Positive
    intermediate_size: Positive
    num_hidden_layers: Positive
    num_attention_heads: Positive
    num_key_value_heads: Positive
    max_position_embeddings: Positive
    rms_norm_eps: PositiveFloat | None
    rope_theta: PositiveFloat | None
    tie_word_embeddings: bool | None

    first_k_dense_replace: NotNegative
    moe_layer_freq: Positive
    moe_intermediate_size: Positive
    n_routed_experts: Positive
    n_shared_experts: Positive
    num_experts_per_tok: Positive
    norm_topk_prob: bool | None
    routed_scaling_factor: float | None
    scoring_func: str | None
    topk_method: str | None
    n_group: NotNegative | None
    topk_group: NotNegative | None

    use_mla: bool
    q_lora_rank: Positive | None
    kv_lora_rank: Positive | None
    qk_nope_head_dim: NotNegative
    qk_rope_head_dim: NotNegative
    v_head_dim: NotNegative

    hidden_act: str | None = None
    sliding_window: NotNegative | None = None

    num_nextn_predict_layers: NotNegative | None = None

    scaling: Scaling | None = None
    rotates_halves: bool = False
    unread: tuple[str, ...] = ()

    @property
    def q_width(self) -> int:
        """Rows of the query projection: heads x (nope + rope dimensions)."""
        return self.num_attention_heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)


def parse_language_config(raw: JsonObject, defaults: JsonObject, where: str) -> LanguageConfig:
    """The typed config; absent fields take `defaults`. CheckpointError names the key that is wrong.

    `raw` may be a wrapper's, with the language model's fields in an object within it.
    """
    said = in_own_words(language_part(raw), where)
    theta = rope_object(said, where)[1].get("rope_theta", said.get("rope_theta", defaults["rope_theta"]))
    fields = {name: value for name, value in said.items() if name in _READ}
    config = to_config({**fields, "rope_theta": theta}, defaults, LanguageConfig, where)
    _check_language(config, where)
    *_, own = levels(raw)  # a wrapper's other fields are not the language model's
    return msgspec.structs.replace(
        config,
        scaling=parse_scaling(said, config.max_position_embeddings, where),
        rotates_halves="rope_interleave" in defaults and not said.get("rope_interleave", True),
        unread=(*unread_fields(own, _READ | _READ_ELSEWHERE | defaults.keys()), *unread_rope(said, where)),
    )


_READ = set(LanguageConfig.__struct_fields__) - {"scaling", "rotates_halves", "unread"}
_READ_ELSEWHERE = {"rope_scaling", "rope_parameters", "original_max_position_embeddings", *BY_BLOCK, *ALIASES}


def _check_language(c: LanguageConfig, where: str) -> None:
    def refuse(key: str, found: object, expected: str) -> None:
        raise CheckpointError(where, f"{key} is {found}, expected {expected}", "the engines cannot run such a model")

    if c.moe_layer_freq != 1:
        refuse("moe_layer_freq", c.moe_layer_freq, "1")
    if c.first_k_dense_replace > c.num_hidden_layers:
        refuse("first_k_dense_replace", c.first_k_dense_replace, f"at most num_hidden_layers {c.num_hidden_layers}")
    if c.num_experts_per_tok > c.n_routed_experts:
        refuse("num_experts_per_tok", c.num_experts_per_tok, f"at most n_routed_experts {c.n_routed_experts}")
    if c.scoring_func not in (None, "softmax", "sigmoid"):
        refuse("scoring_func", repr(c.scoring_func), "'softmax' or 'sigmoid'")
    if c.n_group and c.n_routed_experts % c.n_group:
        refuse("n_group", c.n_group, f"a divisor of n_routed_experts {c.n_routed_experts}")
    if c.n_group and c.topk_group and c.topk_group > c.n_group:
        refuse("topk_group", c.topk_group, f"at most n_group {c.n_group}")
    if c.use_mla:
        for key in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
            if not getattr(c, key):
                refuse(key, getattr(c, key), "a positive number")
    elif c.hidden_size % c.num_attention_heads or c.num_attention_heads % c.num_key_value_heads:
        refuse("num_attention_heads", c.num_attention_heads, "a divisor of hidden_size, a multiple of its KV heads")


def language_table(c: LanguageConfig, mtp_layers: int) -> Iterator[Row]:
    """Every tensor of the language model, block by block; lazy, so that absurd counts cost nothing."""
    yield _for_both("model.embed_tokens.weight", Kind.VOCABULARY, (c.vocab_size, c.hidden_size), "token_embd.weight")
    for block in range(c.num_hidden_layers):
        yield from _block(c, block, dense=block < c.first_k_dense_replace)
    for block in range(c.num_hidden_layers, c.num_hidden_layers + mtp_layers):
        yield from _mtp_layer(c, block)
    yield _for_both("model.norm.weight", Kind.NORM, (c.hidden_size,), "output_norm.weight")
    if not c.tie_word_embeddings:
        yield _for_both("lm_head.weight", Kind.VOCABULARY, (c.vocab_size, c.hidden_size), "output.weight")


def language_mtp_layers(c: LanguageConfig) -> int:
    """The number of layers of multi-token prediction that config.json promises; the checkpoint may lack them."""
    return c.num_nextn_predict_layers or 0


def language_drop_reason(c: LanguageConfig, name: str) -> str | None:
    """Why a source tensor that the converted model does not have is left out; None if it may not be."""
    block = _BLOCK.match(name)
    if _MTP.match(name) or (block and int(block[1]) >= c.num_hidden_layers):
        return MTP_DROPPED
    if name == "lm_head.weight" and c.tie_word_embeddings:
        return "lm_head, tied to the token embedding"
    return no_place_reason(name)


def text_drop_reason(c: LanguageConfig, name: str) -> str | None:
    """`language_drop_reason` of a model that has only text; a wrapper may have given it eyes and ears."""
    reason = language_drop_reason(c, name)
    if reason is None and _ENCODER.fullmatch(name):
        return "encoders of a wrapper, which a model of this architecture does not have"
    return reason


def block_row(block: int, source: str, kind: Kind, shape: Shape, name: str, experts: int = 0) -> Row:
    """A tensor of block number `block`, by its names within the block, which both targets take whole."""
    return _row(f"model.layers.{block}.{source}", kind, shape, f"blk.{block}.{name}", experts)


_STORAGE = {Kind.NORM: ALWAYS_F32, Kind.ROUTER: ALWAYS_F32, Kind.ROUTER_BIAS: ALWAYS_F32}


def _row(source: str, kind: Kind, shape: Shape, name: str, experts: int = 0) -> Row:
    """Both targets have the same names (gguf-py, constants.py, TENSOR_NAMES)."""
    outputs = (Output(name, View.whole(shape), _STORAGE.get(kind, MATRIX)),)
    return Row(source, kind, shape, {"ollama": outputs, "llama.cpp": outputs}, experts)


def _for_both(source: str, kind: Kind, shape: Shape, name: str) -> Row:
    return msgspec.structs.replace(_row(source, kind, shape, name), part=Part.BOTH)


def _with_input(row: Row, same_input: tuple[str, ...]) -> Row:
    """The row with the names of the tensors of other layouts that have its outputs' input too."""
    outputs = {
        target: tuple(msgspec.structs.replace(output, same_input=same_input) for output in made)
        for target, made in row.outputs.items()
    }
    return msgspec.structs.replace(row, outputs=outputs)


def _block(c: LanguageConfig, block: int, *, dense: bool) -> Iterator[Row]:
    hidden = (c.hidden_size,)
    yield block_row(block, "input_layernorm.weight", Kind.NORM, hidden, "attn_norm.weight")
    yield from _latent_attention(c, block) if c.use_mla else _plain_attention(c, block)
    yield block_row(block, "post_attention_layernorm.weight", Kind.NORM, hidden, "ffn_norm.weight")
    if dense:
        yield from _mlp(block, "mlp.", "", c.intermediate_size, c.hidden_size)
    else:
        yield from _mixture(c, block)


def _latent_attention(c: LanguageConfig, block: int) -> Iterator[Row]:
    p, hidden, heads, rank = "self_attn.", c.hidden_size, c.num_attention_heads, c.kv_lora_rank or 0
    if c.q_lora_rank is None:
        yield _rotated(c, block, f"{p}q_proj.weight", (c.q_width, hidden), "attn_q.weight")
    else:
        yield block_row(block, f"{p}q_a_proj.weight", Kind.LINEAR, (c.q_lora_rank, hidden), "attn_q_a.weight")
        yield block_row(block, f"{p}q_a_layernorm.weight", Kind.NORM, (c.q_lora_rank,), "attn_q_a_norm.weight")
        yield _rotated(c, block, f"{p}q_b_proj.weight", (c.q_width, c.q_lora_rank), "attn_q_b.weight")
    latent = (rank + c.qk_rope_head_dim, hidden)
    yield _rotated(c, block, f"{p}kv_a_proj_with_mqa.weight", latent, "attn_kv_a_mqa.weight", heads=1)
    yield block_row(block, f"{p}kv_a_layernorm.weight", Kind.NORM, (rank,), "attn_kv_a_norm.weight")
    yield _kv_b(c, block, (heads * (c.qk_nope_head_dim + c.v_head_dim), rank))
    yield block_row(block, f"{p}o_proj.weight", Kind.LINEAR, (hidden, heads * c.v_head_dim), "attn_output.weight")


def _rotated(c: LanguageConfig, block: int, source: str, shape: Shape, name: str, heads: int = 0) -> Row:
    """A matrix the last rows of whose heads are rotated (all rows, without MLA). The engines rotate neighbours
    (LLAMA_ROPE_TYPE_NORM); for a model that rotates halves, the rows that go together become neighbours: the same sums,
    in another order.
    """
    row = block_row(block, source, Kind.LINEAR, shape, name)
    if not c.rotates_halves:
        return row
    rotated = c.qk_rope_head_dim or c.hidden_size // c.num_attention_heads
    view = View.woven_heads(shape, heads or c.num_attention_heads, rotated)
    outputs = {target: (msgspec.structs.replace(output, view=view),) for target, (output,) in row.outputs.items()}
    return msgspec.structs.replace(row, outputs=outputs)


def _kv_b(c: LanguageConfig, block: int, shape: Shape) -> Row:
    """Whole for Ollama. For llama.cpp, so that MLA is absorbed, split: k_b has of every head the nope rows, transposed,
    v_b the rest (DeepSeek-V2, section 2.1.2: W_UK and W_UV; conversion/deepseek.py).

    All rows of kv_b, those of v_b among them, multiply latent vectors; absorbed, v_b multiplies the means that
    attention makes of them (llama-graph.cpp, build_attn_mha). The transposed k_b multiplies queries, as no other does.
    """
    latent = (f"blk.{block}.attn_v_b.weight", f"blk.{block}.attn_kv_b.weight")
    whole = block_row(block, "self_attn.kv_b_proj.weight", Kind.LINEAR, shape, "attn_kv_b.weight")
    whole = _with_input(whole, latent)
    heads, nope = c.num_attention_heads, c.qk_nope_head_dim
    k_b = View.of_heads(shape, heads, 0, nope, transposed=True)
    v_b = View.of_heads(shape, heads, nope, nope + c.v_head_dim)
    split = (
        Output(f"blk.{block}.attn_k_b.weight", k_b, MATRIX),
        Output(f"blk.{block}.attn_v_b.weight", v_b, MATRIX, same_input=latent),
    )
    return msgspec.structs.replace(whole, outputs={**whole.outputs, "llama.cpp": split})


def _plain_attention(c: LanguageConfig, block: int) -> Iterator[Row]:
    hidden = c.hidden_size
    kv = hidden // c.num_attention_heads * c.num_key_value_heads
    yield _rotated(c, block, "self_attn.q_proj.weight", (hidden, hidden), "attn_q.weight")
    yield _rotated(c, block, "self_attn.k_proj.weight", (kv, hidden), "attn_k.weight", heads=c.num_key_value_heads)
    yield block_row(block, "self_attn.v_proj.weight", Kind.LINEAR, (kv, hidden), "attn_v.weight")
    yield block_row(block, "self_attn.o_proj.weight", Kind.LINEAR, (hidden, hidden), "attn_output.weight")


# The matrices of an MLP that multiply the same vectors; some engines join the first two in one tensor.
_SAME_INPUT = {"gate": ("up", "gate_up"), "up": ("gate", "gate_up"), "down": ()}


def _mlp(block: int, path: str, suffix: str, width: int, hidden: int, experts: int = 0) -> Iterator[Row]:
    for word, shape in (("gate", (width, hidden)), ("up", (width, hidden)), ("down", (hidden, width))):
        name = f"ffn_{word}{suffix}.weight"
        row = block_row(block, f"{path}{word}_proj.weight", Kind.LINEAR, shape, name, experts)
        others = tuple(f"blk.{block}.ffn_{other}{suffix}.weight" for other in _SAME_INPUT[word])
        yield _with_input(row, others) if others else row


def _mixture(c: LanguageConfig, block: int) -> Iterator[Row]:
    hidden, experts, width = c.hidden_size, c.n_routed_experts, c.moe_intermediate_size
    yield block_row(block, "mlp.gate.weight", Kind.ROUTER, (experts, hidden), "ffn_gate_inp.weight")
    if c.topk_method == "noaux_tc":
        bias = "mlp.gate.e_score_correction_bias"
        yield block_row(block, bias, Kind.ROUTER_BIAS, (experts,), "exp_probs_b.bias")
    yield from _mlp(block, "mlp.experts.{}.", "_exps", width, hidden, experts)
    yield from _mlp(block, "mlp.shared_experts.", "_shexp", width * c.n_shared_experts, hidden)


# gguf-py, constants.py, NEXTN_*. An MTP layer's own embedding and head are copies of the model's, which the engine
# takes where they are missing (deepseek2.cpp, graph_mtp).
_MTP_TENSORS = (
    ("enorm", "enorm", Kind.NORM, False),
    ("hnorm", "hnorm", Kind.NORM, False),
    ("shared_head.norm", "shared_head_norm", Kind.NORM, False),
    ("eh_proj", "eh_proj", Kind.VOCABULARY, False),
    ("embed_tokens", "embed_tokens", Kind.VOCABULARY, True),
    ("shared_head.head", "shared_head_head", Kind.VOCABULARY, True),
)


def _mtp_layer(c: LanguageConfig, block: int) -> Iterator[Row]:
    """A layer of multi-token prediction (DeepSeek-V3, section 2.2): a block, and what joins it to the model.

    Only llama.cpp's layout has such layers: the engine computes them with MLA absorbed (deepseek2.cpp, graph_mtp).
    """
    shapes = {"eh_proj": (c.hidden_size, 2 * c.hidden_size)}
    by_kind = {Kind.NORM: (c.hidden_size,), Kind.VOCABULARY: (c.vocab_size, c.hidden_size)}
    rows = list(_block(c, block, dense=False))
    for source, name, kind, optional in _MTP_TENSORS:
        shape = shapes.get(source, by_kind[kind])
        row = block_row(block, f"{source}.weight", kind, shape, f"nextn.{name}.weight")
        rows.append(msgspec.structs.replace(row, optional=optional))
    for row in rows:
        yield msgspec.structs.replace(row, part=Part.MTP, outputs={"llama.cpp": row.outputs["llama.cpp"]})
