"""Damaged headers, indexes and JSON of every kind: only CheckpointError comes out of the parsers."""

import contextlib
import json
import math
import tempfile
from pathlib import Path

from damaged_json import VALUES, damaged
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgguf.checkpoint.shards import INDEX, open_shards
from deepgguf.errors import CheckpointError
from deepgguf.files.local import LocalFiles
from deepgguf.formats.json_text import parse_json
from deepgguf.formats.safetensors import DTYPE_BITS, parse_header

HEADER = {
    "__metadata__": {"format": "pt"},
    "model.embed_tokens.weight": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64]},
    "model.layers.0.mlp.up_proj.weight": {"dtype": "F8_E4M3", "shape": [8, 8], "data_offsets": [64, 128]},
    "model.layers.0.mlp.up_proj.weight_scale_inv": {"dtype": "F32", "shape": [1, 1], "data_offsets": [128, 132]},
    "v.patch_embd": {"dtype": "F16", "shape": [2, 3, 1, 1], "data_offsets": [132, 144]},
}
DATA_BYTES = 144
FILES = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
PARTS = [dict(list(HEADER.items())[:2]), {"b": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}]
INDEX_CONTENT = {
    "metadata": {"total_size": 72},
    "weight_map": {"model.embed_tokens.weight": FILES[0], "b": FILES[1]},
}


@settings(max_examples=400, deadline=None)
@given(damaged(HEADER), st.integers(-8, 8) | st.just(0))
def test_a_header_is_refused_or_accounts_for_every_byte(text, more):
    size = 8 + len(text) + DATA_BYTES + more
    with contextlib.suppress(CheckpointError):
        position = 8 + len(text)
        for t in parse_header(text, position, size, "a"):
            assert t.name.isprintable()
            assert 1 <= math.prod(t.shape) * DTYPE_BITS[t.dtype] == 8 * t.nbytes
            assert len(t.shape) <= 4
            assert t.offset == position
            position += t.nbytes
        assert position == size


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60) | damaged(INDEX_CONTENT) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_json_is_refused_or_means_what_python_reads_in_it(text):
    with contextlib.suppress(CheckpointError):
        assert parse_json(text, "a") == json.loads(text)


def write_checkpoint(folder: Path, headers: list[bytes], index: bytes) -> None:
    for file, text, data_bytes in zip(FILES, headers, [64, 8], strict=True):
        (folder / file).write_bytes(len(text).to_bytes(8, "little") + text + bytes(data_bytes))
    (folder / INDEX).write_bytes(index)


@settings(max_examples=200, deadline=None)
@given(damaged(INDEX_CONTENT))
def test_an_index_is_refused_or_the_headers_are_used(index):
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(CheckpointError):
        write_checkpoint(Path(name), [json.dumps(part).encode() for part in PARTS], index)
        shards, warnings = open_shards(LocalFiles(name), {})
        assert {t.name: shards.files[t.blobs[0].file].name for t in shards.tensors.values()} == INDEX_CONTENT[
            "weight_map"
        ]
        assert all(warning.isprintable() for warning in warnings)


@settings(max_examples=200, deadline=None)
@given(damaged(PARTS[0]), damaged(PARTS[1]))
def test_shards_are_refused_or_hold_what_the_index_names_or_a_warning_says_that_they_do_not(first, second):
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(CheckpointError):
        write_checkpoint(Path(name), [first, second], json.dumps(INDEX_CONTENT).encode())
        shards, warnings = open_shards(LocalFiles(name), {})
        missing = INDEX_CONTENT["weight_map"].keys() - shards.tensors.keys()
        assert bool(missing) == any("which no shard has" in warning for warning in warnings)
        assert sum(t.nbytes for t in shards.tensors.values()) == 72


def test_the_undamaged_checkpoint_is_read(tmp_path):
    write_checkpoint(tmp_path, [json.dumps(part).encode() for part in PARTS], json.dumps(INDEX_CONTENT).encode())
    assert len(open_shards(LocalFiles(tmp_path), {})[0].tensors) == 2
    text = json.dumps(HEADER).encode()
    assert len(parse_header(text, 8 + len(text), 8 + len(text) + DATA_BYTES, "a")) == 4
