"""DeepSeek-V2 and V3 in NumPy, as plainly as their papers and transformers define them: tokens in, logits out.

arXiv 2405.04434, section 2; arXiv 2412.19437, section 2.1; transformers 5.24, modeling_deepseek_v2.py,
modeling_deepseek_v3.py and modeling_rope_utils.py. Weights are read from the shards without deepgguf; everything is
computed in float32, and the whole text at once.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from respelled import read_tensors

from tiny_checkpoint import floats

Array = np.ndarray
Config = Mapping[str, Any]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"silu": lambda x: x / (1 + np.exp(-x))}


def log_probabilities(folder: Path, tokens: tuple[int, ...], **changed: Any) -> Array:
    """[tokens, vocabulary]: of the token after each prefix. `changed`: fields in place of those of config.json."""
    config = json.loads((folder / "config.json").read_text()) | changed
    weights = {name: floats(tensor) for name, tensor in read_tensors(folder).items()}
    logits = Model(config, weights).logits(np.array(tokens))
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


class Model:
    """A config and its weights, by the names of the checkpoint."""

    def __init__(self, config: Config, weights: Mapping[str, Array]) -> None:
        self.config = config
        self.weights = weights
        self.v3 = config["architectures"] == ["DeepseekV3ForCausalLM"]
        self.activation = ACTIVATIONS[config["hidden_act"]]

    def logits(self, tokens: Array) -> Array:
        x = self.weights["model.embed_tokens.weight"][tokens]
        for layer in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, f"{name}input_layernorm"), f"{name}self_attn.")
            dense = layer < self.config["first_k_dense_replace"]
            feed = self.mlp if dense else self.mixture
            x = x + feed(self.norm(x, f"{name}post_attention_layernorm"), f"{name}mlp.")
        x = self.norm(x, "model.norm")
        head = "model.embed_tokens.weight" if "lm_head.weight" not in self.weights else "lm_head.weight"
        return x @ self.weights[head].T

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.weights[f"{name}.weight"].T

    def norm(self, x: Array, name: str) -> Array:
        root = np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.config["rms_norm_eps"])
        return x / root * self.weights[f"{name}.weight"]

    def attention(self, x: Array, name: str) -> Array:
        """Multi-head latent attention, keys and values of every head made from the latent vector."""
        c, tokens = self.config, len(x)
        heads, nope, value = c["num_attention_heads"], c["qk_nope_head_dim"], c["v_head_dim"]
        if c["q_lora_rank"] is None:
            q = self.linear(x, f"{name}q_proj")
        else:
            q = self.linear(self.norm(self.linear(x, f"{name}q_a_proj"), f"{name}q_a_layernorm"), f"{name}q_b_proj")
        q = q.reshape(tokens, heads, -1)
        latent, k_rope = np.split(self.linear(x, f"{name}kv_a_proj_with_mqa"), [c["kv_lora_rank"]], axis=1)
        kv = self.linear(self.norm(latent, f"{name}kv_a_layernorm"), f"{name}kv_b_proj").reshape(tokens, heads, -1)
        q_rope, k_rope = self.rotated(q[:, :, nope:]), self.rotated(k_rope[:, None, :])
        scores = np.einsum("qhd,khd->hqk", q[:, :, :nope], kv[:, :, :nope])
        scores = (scores + np.einsum("qhd,kd->hqk", q_rope, k_rope[:, 0])) * self.scale()
        scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores = scores / scores.sum(axis=-1, keepdims=True)
        seen = np.einsum("hqk,khd->qhd", scores, kv[:, :, nope:]).reshape(tokens, heads * value)
        return self.linear(seen, f"{name}o_proj")

    def rope(self) -> Config:
        return self.config.get("rope_scaling") or self.config.get("rope_parameters") or {}

    def rope_type(self) -> str:
        return self.rope().get("rope_type", self.rope().get("type", "default"))

    def scale(self) -> float:
        """yarn_apply_mscale: of the scores."""
        scale = (self.config["qk_nope_head_dim"] + self.config["qk_rope_head_dim"]) ** -0.5
        if self.rope_type() != "default" and self.rope().get("mscale_all_dim"):
            scale *= mscale(self.rope()["factor"], self.rope()["mscale_all_dim"]) ** 2
        return scale

    def rotated(self, x: Array) -> Array:
        """[tokens, heads, dimensions], pairs of which turn by position × frequency: neighbours, or the two halves."""
        frequencies, factor = self.frequencies()
        angles = np.arange(len(x))[:, None, None] * frequencies
        cos, sin = np.cos(angles) * factor, np.sin(angles) * factor
        halves = self.v3 and not self.config.get("rope_interleave", True)
        pairs = np.split(x, 2, axis=-1) if halves else (x[:, :, 0::2], x[:, :, 1::2])
        return np.concatenate([pairs[0] * cos - pairs[1] * sin, pairs[1] * cos + pairs[0] * sin], axis=-1)

    def frequencies(self) -> tuple[Array, float]:
        """Of every pair, and what cos and sin are multiplied by."""
        rope, dim = self.rope(), self.config["qk_rope_head_dim"]
        theta = rope.get("rope_theta", self.config.get("rope_theta", 10000.0))
        plain = theta ** -(np.arange(0, dim, 2) / dim)
        kind = self.rope_type()
        if kind == "linear":
            return plain / rope["factor"], 1.0
        if kind in ("yarn", "deepseek_yarn"):
            return self.yarn(plain, theta), self.yarn_attention()
        return plain, 1.0

    def yarn(self, plain: Array, theta: float) -> Array:
        """_compute_yarn_parameters: high frequencies stay, low ones are divided by the factor, those between fade."""
        rope, dim = self.rope(), self.config["qk_rope_head_dim"]
        original = rope.get("original_max_position_embeddings") or self.config["max_position_embeddings"]

        def dimension(rotations: float) -> float:
            return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

        low, high = dimension(rope.get("beta_fast") or 32), dimension(rope.get("beta_slow") or 1)
        if rope.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        stretched = np.clip((np.arange(dim // 2) - low) / ((high - low) or 0.001), 0, 1)
        return plain / rope["factor"] * stretched + plain * (1 - stretched)

    def yarn_attention(self) -> float:
        rope, factor = self.rope(), self.rope()["factor"]
        if rope.get("attention_factor") is not None:
            return rope["attention_factor"]
        if rope.get("mscale") and rope.get("mscale_all_dim"):
            return mscale(factor, rope["mscale"]) / mscale(factor, rope["mscale_all_dim"])
        return mscale(factor, 1)

    def mlp(self, x: Array, name: str) -> Array:
        gate = self.activation(self.linear(x, f"{name}gate_proj"))
        return self.linear(gate * self.linear(x, f"{name}up_proj"), f"{name}down_proj")

    def mixture(self, x: Array, name: str) -> Array:
        weights = self.routed(self.linear(x, f"{name}gate"), name)
        out = self.mlp(x, f"{name}shared_experts.")
        for expert in range(self.config["n_routed_experts"]):
            chosen = np.flatnonzero(weights[:, expert])
            made = self.mlp(x[chosen], f"{name}experts.{expert}.")
            out[chosen] = out[chosen] + made * weights[chosen, expert, None]
        return out

    def routed(self, logits: Array, name: str) -> Array:
        """[tokens, experts]: the weight of every expert, 0 where it is not chosen."""
        c = self.config
        if self.v3:
            scores = 1 / (1 + np.exp(-logits))
            ranked = scores + self.weights[f"{name}gate.e_score_correction_bias"]
            ranked = in_best_groups(ranked, c["n_group"], c["topk_group"])
        else:
            scores = np.exp(logits - logits.max(axis=1, keepdims=True))
            scores = ranked = scores / scores.sum(axis=1, keepdims=True)
        chosen = np.argsort(-ranked, axis=1, kind="stable")[:, : c["num_experts_per_tok"]]
        weights = np.zeros_like(scores)
        np.put_along_axis(weights, chosen, np.take_along_axis(scores, chosen, axis=1), axis=1)
        if self.v3 and c["norm_topk_prob"]:
            weights = weights / weights.sum(axis=1, keepdims=True)
        return weights * c["routed_scaling_factor"]


def in_best_groups(ranked: Array, groups: int, used: int) -> Array:
    """-inf for experts outside of the `used` groups whose two best experts have the largest sum."""
    by_group = ranked.reshape(len(ranked), groups, -1)
    best = np.sort(by_group, axis=2)[:, :, -2:].sum(axis=2)
    kept = np.argsort(-best, axis=1, kind="stable")[:, :used]
    mask = np.full((len(ranked), groups), -np.inf)
    np.put_along_axis(mask, kept, 0, axis=1)
    return (by_group + mask[:, :, None]).reshape(ranked.shape)


def mscale(factor: float, weight: float) -> float:
    return 1 + 0.1 * weight * math.log(factor) if factor > 1 else 1.0
