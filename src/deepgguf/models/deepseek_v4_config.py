"""What config.json says of a DeepSeek-V4: in the release's form, and in the one that transformers saves."""

import msgspec

from deepgguf.checkpoint.diagnosis import other_model
from deepgguf.checkpoint.nested_config import language_part
from deepgguf.errors import CheckpointError
from deepgguf.models.config_schema import JsonObject, NotNegative, Positive, PositiveFloat, json_object, to_config
from deepgguf.models.deepseek_v4_vision import Vision, parse_vision

# What configuration_deepseek_v4.py (transformers 5.24) gives a field that config.json leaves out.
DEFAULTS: JsonObject = {
    "vocab_size": 129280, "hidden_size": 4096, "num_hidden_layers": 43, "num_attention_heads": 64, "head_dim": 512,
    "qk_rope_head_dim": 64, "q_lora_rank": 1024, "o_groups": 8, "o_lora_rank": 1024, "n_routed_experts": 256,
    "num_experts_per_tok": 6, "n_shared_experts": 1, "moe_intermediate_size": 2048, "routed_scaling_factor": 1.5,
    "norm_topk_prob": True, "scoring_func": "sqrtsoftplus", "swiglu_limit": 10.0, "num_hash_layers": 3,
    "index_n_heads": 64, "index_head_dim": 128, "index_topk": 512, "hc_mult": 4, "hc_sinkhorn_iters": 20,
    "hc_eps": 1e-6, "sliding_window": 128, "max_position_embeddings": 1048576, "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0, "compress_rope_theta": 160000.0, "num_nextn_predict_layers": 1,
}  # fmt: skip

WINDOW, SPARSE, HEAVY = RATIOS = (0, 4, 128)
"""Tokens to an entry of the cache, by layer, as deepseek4.cpp computes them: none compressed, a few, or many."""

# What save_pretrained calls otherwise; "model." stands before all names but the head's.
_SAVED = {"embed.weight": "embed_tokens.weight"}
_SAVED |= {f"hc_head_{part}": f"hc_head.hc_{part}" for part in ("fn", "base", "scale")}


class Yarn(msgspec.Struct, frozen=True):
    """YaRN (arXiv 2309.00071): how the rotary positions of compressed layers are stretched."""

    factor: PositiveFloat
    original_max_position_embeddings: Positive
    beta_fast: PositiveFloat = 32.0
    beta_slow: PositiveFloat = 1.0


class DeepseekV4Config(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of config.json that decide keys, names or shapes, under their own names.

    `saved`: transformers wrote it, and the tensors have its names. `yarn` is of the compressed layers. `vision` is None
    for a model that does not see.
    """

    vocab_size: Positive
    hidden_size: Positive
    num_hidden_layers: Positive
    num_attention_heads: Positive
    head_dim: Positive
    qk_rope_head_dim: Positive
    q_lora_rank: Positive
    o_groups: Positive
    o_lora_rank: Positive
    n_routed_experts: Positive
    num_experts_per_tok: Positive
    n_shared_experts: Positive
    moe_intermediate_size: Positive
    routed_scaling_factor: float
    norm_topk_prob: bool
    scoring_func: str
    swiglu_limit: PositiveFloat | None
    num_hash_layers: NotNegative
    index_n_heads: Positive
    index_head_dim: Positive
    index_topk: Positive
    hc_mult: Positive
    hc_sinkhorn_iters: Positive
    hc_eps: PositiveFloat
    sliding_window: Positive
    max_position_embeddings: Positive
    rms_norm_eps: PositiveFloat
    rope_theta: PositiveFloat
    compress_rope_theta: PositiveFloat
    num_nextn_predict_layers: NotNegative
    compress_ratios: tuple[NotNegative, ...]
    dspark_target_layer_ids: tuple[NotNegative, ...] = ()
    dspark_markov_rank: Positive = 256
    dspark_block_size: Positive | None = None
    dspark_noise_token_id: NotNegative | None = None
    yarn: Yarn | None = None
    saved: bool = False
    vision: Vision | None = None

    def spelled(self, name: str) -> str:
        """The name that a tensor of the release has in the checkpoint."""
        if not self.saved or name == "head.weight":
            return name
        return f"model.{_SAVED.get(name, name)}".replace(".attn.kv_norm.", ".attn.norm.")


def parse(raw: JsonObject, where: str) -> DeepseekV4Config:
    """The typed config, of the release's form or of transformers'; CheckpointError names the key that is wrong."""
    raw = language_part(raw)
    if str(raw.get("model_type")).startswith("deepseek_v41"):  # other blocks of scales
        found = f"model_type is {raw['model_type']!r}, expected 'deepseek_v4'"
        raise CheckpointError(where, found, other_model((str(raw["model_type"]),)))
    if raw.get("compress_ratios") is None:
        raw = {**raw, **_saved_fields(raw, where)}
    else:
        raw = {**raw, "yarn": _yarn(raw.get("rope_scaling"), where, "rope_scaling"), "saved": False}
    config = to_config({**raw, "vision": None}, DEFAULTS, DeepseekV4Config, where)
    _check(config, where)
    return msgspec.structs.replace(config, vision=parse_vision(raw, where))


def _saved_fields(raw: JsonObject, where: str) -> JsonObject:
    """What save_pretrained says by lists of layers' types, and by one set of rotary parameters for each kind."""
    rates = {"sliding_attention": WINDOW, **json_object(raw.get("compress_rates", {}), where, "compress_rates")}
    types, routers = _texts(raw, "layer_types", where), _texts(raw, "mlp_layer_types", where)
    unknown = next((type for type in types if type not in rates), None)
    if unknown is not None:
        expected = f"expected one of {', '.join(rates)}, as compress_rates has them"
        raise CheckpointError(where, f"layer_types has {unknown!r}, {expected}")
    hashed = routers.count("hash_moe")
    if routers != ["hash_moe"] * hashed + ["moe"] * (len(routers) - hashed):
        raise CheckpointError(where, "mlp_layer_types has another order than 'hash_moe' before 'moe'")
    ropes = json_object(raw.get("rope_parameters"), where, "rope_parameters")
    main, compress = (json_object(ropes.get(kind), where, f"rope_parameters.{kind}") for kind in ("main", "compress"))
    mtp = raw.get("num_nextn_predict_layers", 0)
    found: dict[str, object] = {
        "compress_ratios": [*(rates[type] for type in types), *([WINDOW] * mtp if isinstance(mtp, int) else [])],
        "num_hash_layers": hashed,
        "yarn": _yarn(compress, where, "rope_parameters.compress"),
        "saved": True,
    }
    for key, kind in (("rope_theta", main), ("compress_rope_theta", compress)):
        if "rope_theta" in kind:
            found[key] = kind["rope_theta"]
    part, head = raw.get("partial_rotary_factor"), raw.get("head_dim", DEFAULTS["head_dim"])
    if "qk_rope_head_dim" not in raw and isinstance(part, float) and isinstance(head, int):
        found["qk_rope_head_dim"] = round(part * head)
    return found


def _texts(raw: JsonObject, key: str, where: str) -> list[str]:
    values = raw.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        advice = "compare with the model's original config.json"
        raise CheckpointError(where, f"neither compress_ratios nor {key}, which says what each layer is", advice)
    return values


def _yarn(scaling: object, where: str, key: str) -> JsonObject | None:
    if scaling is None:
        return None
    scaling = json_object(scaling, where, key)
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind in (None, "default"):
        return None
    if kind != "yarn":
        raise CheckpointError(where, f"{key}.type is {kind!r}, expected 'yarn'", "no engine scales DeepSeek otherwise")
    return scaling


def _check(c: DeepseekV4Config, where: str) -> None:
    layers, other = c.num_hidden_layers, next((r for r in c.compress_ratios if r not in RATIOS), None)
    wrong = (
        (len(c.compress_ratios) < layers, "compress_ratios", f"of length {len(c.compress_ratios)}",
         f"one for each of {layers} layers"),
        (other is not None, "compress_ratios", other, f"only {', '.join(map(str, RATIOS))}"),
        (c.scoring_func != "sqrtsoftplus", "scoring_func", repr(c.scoring_func), "'sqrtsoftplus'"),
        (c.num_experts_per_tok > c.n_routed_experts, "num_experts_per_tok", c.num_experts_per_tok,
         f"at most n_routed_experts {c.n_routed_experts}"),
        (c.num_attention_heads % c.o_groups != 0, "o_groups", c.o_groups, "a divisor of num_attention_heads"),
        (c.qk_rope_head_dim > c.head_dim, "qk_rope_head_dim", c.qk_rope_head_dim, f"at most head_dim {c.head_dim}"),
    )  # fmt: skip
    for is_wrong, key, found, expected in wrong:
        if is_wrong:
            advice = "the engines cannot run such a model"
            raise CheckpointError(where, f"{key} is {found}, expected {expected}", advice)
