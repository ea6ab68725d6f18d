"""DeepSeekMoE, the first of them (deepseek-moe-16b): llama.cpp's converter's bytes, and the original's answers."""

import json
import shutil

import numpy as np
import pytest
from deepseek_reference import Model
from respelled import read_tensors

from deepgguf import CheckpointError, convert, plan, verify
from engine import TOKENS, distance
from engine import log_probabilities as computed
from golden import describe_written, read_golden
from tiny_checkpoint import floats


class DeepseekMoe(Model):
    """modeling_deepseek.py of deepseek-moe-16b: heads that are rotated whole, keys and values for several of them."""

    def attention(self, x, name):
        c, tokens = self.config, len(x)
        heads, kept = c["num_attention_heads"], c["num_key_value_heads"]
        q, k, v = (
            self.linear(x, f"{name}{word}_proj").reshape(tokens, -1, c["hidden_size"] // heads) for word in "qkv"
        )
        q, k, v = self.rotated(q), self.rotated(k).repeat(heads // kept, 1), v.repeat(heads // kept, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[2])
        scores = np.exp(np.where(np.tri(tokens, dtype=bool), scores, -np.inf))
        seen = np.einsum("hqk,khd->qhd", scores / scores.sum(axis=-1, keepdims=True), v)
        return self.linear(seen.reshape(tokens, -1), f"{name}o_proj")

    def rotated(self, x):
        turns = 10000.0 ** -(np.arange(0, x.shape[2], 2) / x.shape[2]) * np.arange(len(x))[:, None, None]
        left, right = np.split(x, 2, axis=-1)
        cos, sin = np.cos(turns), np.sin(turns)
        return np.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def test_the_file_is_that_of_llamacpps_converter(checkpoint, tmp_path):
    source, made = checkpoint("deepseek-moe"), tmp_path / "deepseek-moe.gguf"
    convert(source, made, target="llama.cpp")
    found, expected = describe_written(made), read_golden("llama.cpp", "deepseek-moe")
    assert found.by_name() == expected.by_name()
    # Its converter goes by tokenizer.json's post-processor (docs/differences.md).
    assert found.keys == expected.keys | {"tokenizer.ggml.add_bos_token": (["BOOL"], True)}
    assert verify(made, source).differences == ()


def test_log_probabilities_are_those_of_the_original(checkpoint, tmp_path):
    source = checkpoint("deepseek-moe")
    config = json.loads((source / "config.json").read_text()) | {"routed_scaling_factor": 1.0}
    logits = DeepseekMoe(config, {name: floats(t) for name, t in read_tensors(source).items()}).logits(np.array(TOKENS))
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    convert(source, tmp_path / "x.gguf", target="ollama", type="f16")
    assert distance(computed(tmp_path / "x.gguf", vocabulary=expected.shape[1]), expected) < 0.002


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"norm_topk_prob": True}, "norm_topk_prob is True, expected False"),
        ({"scoring_func": "sigmoid"}, "scoring_func is 'sigmoid', expected 'softmax'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling is there"),
    ],
)
def test_what_the_engine_does_not_compute_is_refused(changed, found, checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint("deepseek-moe"), tmp_path / "x")
    config = json.loads((folder / "config.json").read_text()) | changed
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=found):
        plan(folder)
