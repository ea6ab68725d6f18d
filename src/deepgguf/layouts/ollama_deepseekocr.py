"""Ollama's layout of DeepSeek-OCR (convert/convert_deepseekocr.go): one file, the vision part under v., s. and mm."""

from collections.abc import Iterable

from deepgguf.architectures.architecture import Model
from deepgguf.architectures.tensors import Component, ExpectedTensor, Role
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.layouts import ollama_deepseek2
from deepgguf.layouts.language_keys import size_keys
from deepgguf.layouts.language_names import language_name
from deepgguf.layouts.layout import FileKind, KeyFacts, Layout, Output, in_file_order, stack_experts
from deepgguf.layouts.ollama_run import run_command
from deepgguf.layouts.storage import ALWAYS_F32, CHOSEN, MATRIX, OLLAMA_FILE_TYPES, OLLAMA_PLAIN, VISION
from deepgguf.layouts.tokenizer_keys import ollama_tokenizer_keys
from deepgguf.layouts.values import array, present, string, uint32
from deepgguf.recipes.choice import Exceptions

_PREFIXES = {Component.CLIP: "v.", Component.SAM: "s.", Component.PROJECTOR: "mm."}
_F32_NAMES = ("v.position_embd.weight", "s.position_embd")


def name(role: Role) -> str:
    """Under v., s. or mm. the encoders keep their own words; the language model has GGUF's."""
    if role.component is Component.LANGUAGE:
        return language_name(role)
    block = "" if role.block is None else f"blk.{role.block}."
    part = f".{role.part}" if role.part else ""
    return f"{_PREFIXES[role.component]}{block}{role.kind}{part}"


def storage(output: str, tensor: ExpectedTensor) -> str:
    """Position tables are F32 too; the encoders' matrices have an entry of their own."""
    if output in _F32_NAMES or output.endswith(("rel_pos_h", "rel_pos_w")):
        return ALWAYS_F32
    kind = ollama_deepseek2.storage(output, tensor)
    return VISION if kind == MATRIX and tensor.role.component is not Component.LANGUAGE else kind


def outputs(model: Model, tensors: Iterable[ExpectedTensor]) -> list[Output]:
    """Everything as it is, experts stacked."""
    return in_file_order(stack_experts(tensors, name, storage))


def keys(facts: KeyFacts) -> dict[str, Value]:
    """The keys of Ollama's converter, and those that its engine has to guess otherwise (size_keys, vocab_size)."""
    c, vision = facts.model.language, facts.model.vision
    assert vision is not None
    general = {"architecture": string("deepseekocr"), "quantization_version": uint32(2)}
    own = {
        **size_keys(c),
        "attention.head_count_kv": uint32(c.num_key_value_heads),
        "vocab_size": uint32(c.vocab_size),
        "vision.block_count": uint32(vision.clip.layers),
        "vision.embedding_length": uint32(vision.clip.width),
        "vision.head_count": uint32(vision.clip.heads),
        "vision.image_size": uint32(vision.clip.image_size),
        "vision.patch_size": uint32(vision.clip.patch_size),
        "sam.block_count": uint32(vision.sam.layers),
        "sam.embedding_length": uint32(vision.sam.width),
        "sam.head_count": uint32(vision.sam.heads),
        "sam.global_attention_indexes": array(ValueType.INT32, vision.sam.global_attn_indexes),
    }
    return (
        present(general, "general.")
        | present(own, "deepseekocr.")
        | ollama_tokenizer_keys(facts.tokenizer, c.vocab_size)
    )


LAYOUT = Layout(
    target="ollama",
    sources=("DeepseekOCRForCausalLM",),
    architecture="deepseekocr",
    outputs=outputs,
    keys={FileKind.TEXT: keys},
    plain_types=OLLAMA_PLAIN,
    chosen_types=CHOSEN,
    file_types=OLLAMA_FILE_TYPES,
    run=run_command,
    exceptions=Exceptions(kept_prefixes=tuple(_PREFIXES.values())),
)
