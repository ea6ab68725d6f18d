"""The fields of config.json that are known to have no effect on what the model computes, and why."""

from collections.abc import Collection, Iterator, Mapping

from deepgguf.models.config_schema import JsonObject

NO_EFFECT = {
    "of training": (
        "attention_dropout", "attn_pdrop", "aux_loss_alpha", "aux_loss_coef", "dropout", "embd_pdrop", "ep_size",
        "gradient_checkpointing", "hidden_dropout", "hidden_dropout_prob", "initializer_range", "output_router_logits",
        "pretraining_tp", "resid_pdrop", "router_aux_loss_coef", "router_jitter_noise", "router_z_loss_coef", "seq_aux",
        "use_cache",
    ),
    "of sampling": (
        "bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping",
        "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty",
        "length_penalty", "max_length", "min_length", "no_repeat_ngram_size",
        "num_beam_groups", "num_beams", "num_return_sequences", "output_scores", "remove_invalid_values",
        "repetition_penalty", "return_dict_in_generate", "suppress_tokens", "temperature", "top_k", "top_p",
        "typical_p",
    ),
    "bookkeeping of transformers and other tools": (
        "add_cross_attention", "architectures", "attn_implementation", "auto_map", "chunk_size_feed_forward",
        "cross_attention_hidden_size", "custom_pipelines", "dtype", "finetuning_task",
        "id2label", "is_decoder", "is_encoder_decoder", "label2id", "lm_head", "model_type", "name_or_path",
        "output_attentions", "output_hidden_states", "prefix", "problem_type", "pruned_heads", "return_dict", "rm_head",
        "task_specific_params", "tf_legacy_loss", "tie_encoder_decoder", "tokenizer_class", "torch_dtype",
        "torchscript", "transformers_version", "unsloth_fixed", "unsloth_version", "use_bfloat16",
    ),
    "of the vocabulary or of stored forms, which are read elsewhere": (
        "compression_config", "quantization", "quantization_config",
    ),
    "other dimensions say it": ("head_dim", "qk_head_dim"),
    "tensors say it: without biases in the shards there are none": ("attention_bias", "mlp_bias"),
    "of the window, whose size is in sliding_window": ("max_window_layers", "use_sliding_window"),
}  # fmt: skip
"""Reason to the names of fields. What begins with "_" is bookkeeping too; what ends in "_token_id" is vocabulary."""

SAYS_NOTHING: Mapping[str, object] = {"rope_interleave": True, "partial_rotary_factor": 1}
"""Fields that only say, by this value, what is so without them."""

_KNOWN = frozenset(name for names in NO_EFFECT.values() for name in names)


def unread_fields(config: JsonObject, read: Collection[str]) -> Iterator[str]:
    """The fields that are neither `read` nor known to have no effect; null says nothing, so it does not count."""
    for name, value in config.items():
        if name in read or name in _KNOWN or name.startswith("_") or name.endswith("_token_id"):
            continue
        if value is not None and (name not in SAYS_NOTHING or value != SAYS_NOTHING[name]):
            yield name
