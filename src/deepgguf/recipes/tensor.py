"""What the rules read: a tensor before it is quantized, and the few facts about its model."""

import enum
import re

import msgspec

from deepgguf.formats.gguf.types import GGMLType

_LAYER = re.compile(r"blk\.([0-9]+)", re.ASCII)


class Category(enum.Enum):
    """What a tensor is for, as far as the rules tell tensors apart (llama-quant.cpp, tensor_category)."""

    OUTPUT = enum.auto()
    TOKEN_EMBEDDING = enum.auto()
    ATTENTION_VALUE = enum.auto()
    ATTENTION_KEY = enum.auto()
    ATTENTION_QUERY = enum.auto()
    ATTENTION_OUTPUT = enum.auto()
    FFN_UP = enum.auto()
    FFN_GATE = enum.auto()
    FFN_DOWN = enum.auto()
    OTHER = enum.auto()


# llama-quant.cpp, tensor_get_category, in its order; attn_qkv and attn_kv_b count as values (category_is_attn_v).
_BY_PART = (
    ("attn_qkv.weight", Category.ATTENTION_VALUE),
    ("attn_kv_b.weight", Category.ATTENTION_VALUE),
    ("attn_v.weight", Category.ATTENTION_VALUE),
    ("attn_k.weight", Category.ATTENTION_KEY),
    ("attn_q.weight", Category.ATTENTION_QUERY),
    ("attn_output.weight", Category.ATTENTION_OUTPUT),
    ("ffn_up", Category.FFN_UP),
    ("ffn_gate", Category.FFN_GATE),
    ("ffn_down", Category.FFN_DOWN),
)
_BY_NAME = {
    "output.weight": Category.OUTPUT,
    "token_embd.weight": Category.TOKEN_EMBEDDING,
    "per_layer_token_embd.weight": Category.TOKEN_EMBEDDING,
}


class ModelFacts(msgspec.Struct, frozen=True):
    """What the rules read of a model, as the written file's keys have it.

    `n_layer` is `block_count`, `n_expert` `expert_count` (0 without experts), `n_head` and `n_head_kv` are
    `attention.head_count` and `attention.head_count_kv`: 1 for deepseek2 in llama.cpp's layout, as configured in
    Ollama's.
    """

    n_layer: int
    n_expert: int
    n_head: int
    n_head_kv: int

    @property
    def heads_per_kv_head(self) -> int:
        """Query heads that share a key-value head (llama-hparams.cpp, n_gqa)."""
        return self.n_head // self.n_head_kv if self.n_head_kv else 0


class TensorToType(msgspec.Struct, frozen=True):
    """A tensor that is to get a type: `shape` row-major (the last dimension is a row), `type` its unquantized one."""

    name: str
    shape: tuple[int, ...]
    type: GGMLType

    @property
    def row(self) -> int:
        """Weights in a row, ggml's ne[0]."""
        return self.shape[-1] if self.shape else 1

    @property
    def matrices(self) -> int:
        """Matrices in a stack of experts or heads, ggml's ne[2]."""
        return self.shape[-3] if len(self.shape) > 2 else 1

    @property
    def dimensions(self) -> int:
        """Dimensions without the leading ones (ggml.c, ggml_n_dims)."""
        leading = next((i for i, size in enumerate(self.shape) if size > 1), len(self.shape) - 1)
        return max(len(self.shape) - leading, 1)

    @property
    def category(self) -> Category:
        """What the tensor is for, by its name."""
        named = _BY_NAME.get(self.name)
        return named or next((category for part, category in _BY_PART if part in self.name), Category.OTHER)

    @property
    def layer(self) -> int:
        """The number of a tensor's block, −1 for one that belongs to none."""
        found = _LAYER.match(self.name)
        return int(found.group(1)) if found else -1


def visiting_key(tensor: TensorToType) -> tuple[int, bytes]:
    """Sorts tensors as llama-quantize visits them: those of no block first, then by block, then by name, bytewise.

    Some rules count the tensors that came before (llama-model-loader.h, weight_name_comparer).
    """
    return tensor.layer, tensor.name.encode()
