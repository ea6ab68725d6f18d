"""The DSpark stages of a DeepSeek-V4 release (0731, 0813): `mtp.0` and on, which draft blocks of tokens together.

Names: the release's model.py, and llama.cpp's conversion/deepseek.py.
"""

from collections.abc import Iterator

import msgspec

from deepgguf.models.deepseek_v4_config import WINDOW, DeepseekV4Config
from deepgguf.models.deepseek_v4_table import block_rows, row_of, stream_rows
from deepgguf.models.table import Kind, Row


def stages_table(c: DeepseekV4Config) -> Iterator[Row]:
    """A block for each of the model's layers that is listened to, what joins these, and what the last one adds.

    Empty for a model without stages.
    """
    for row in _rows(c) if c.dspark_target_layer_ids else ():
        outputs = tuple(msgspec.structs.replace(output, file="draft") for output in row.outputs["llama.cpp"])
        yield msgspec.structs.replace(row, outputs={"llama.cpp": outputs})


def _rows(c: DeepseekV4Config) -> Iterator[Row]:
    layers, hidden, rank = len(c.dspark_target_layer_ids), c.hidden_size, c.dspark_markov_rank
    tokens, last = (c.vocab_size, rank), f"mtp.{layers - 1}."
    blind = msgspec.structs.replace(c, vision=None)  # dflash has no biases for pictures (DeepseekV4DSparkModel)
    for n in range(layers):
        yield from block_rows(blind, f"mtp.{n}.", n, WINDOW, hashed=False)
    yield row_of(c, "mtp.0.main_proj.weight", Kind.LINEAR, (hidden, hidden * layers), "fc.weight")
    yield row_of(c, "mtp.0.main_norm.weight", Kind.NORM, (hidden,), "enc.output_norm.weight")
    yield row_of(c, f"{last}norm.weight", Kind.NORM, (hidden,), "output_norm.weight")
    yield from stream_rows(c, f"{last}hc_head", "output_hc", c.hc_mult, 1)
    for name in ("markov_w1", "markov_w2"):
        yield row_of(c, f"{last}markov_head.{name}.weight", Kind.MATRIX, tokens, f"{name}.weight")
    yield row_of(c, f"{last}confidence_head.proj.weight", Kind.MATRIX, (1, hidden + rank), "conf_proj.weight")
