"""DeepSeek-OCR in the engine, from a picture to an answer: both converted files at once."""

import base64
import hashlib
import json
import struct
import zlib
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from deepgguf import convert
from engine import GOLDENS, SAMPLING, VOCABULARY, of_answer, serve

STEPS = 3
# What the engine makes of a small picture: 16 rows of 16 with a line break each, the separator of views, and after it
# the text "\n".
PICTURE_TOKENS = 16 * (16 + 1) + 1 + 1


# That the converted files answer as the reference's files do takes two things: the same bytes, and an engine that
# answers the same bytes alike. The reference's files are not here, but the SHA-256 of each of their tensors is.
@pytest.mark.slow
def test_the_answer_to_a_picture_is_that_of_the_reference_conversion(checkpoint, tmp_path):
    first, second = (
        answers_to_pictures(checkpoint("ocr"), tmp_path / "first"),
        answers_to_pictures(checkpoint("ocr"), tmp_path / "second"),
    )
    assert np.array_equal(first, second)
    fine, coarse = first
    assert not np.array_equal(fine, coarse)


def answers_to_pictures(source: Path, folder: Path) -> NDArray[np.float64]:
    """[2, STEPS, 544]: the answers about a picture of fine and one of coarse squares, from freshly converted files."""
    folder.mkdir()
    text, mmproj = (file.path for file in convert(source, folder / "ocr.gguf", target="llama.cpp").files)
    assert tensors(text) == golden_tensors("ocr")
    assert tensors(mmproj) == golden_tensors("ocr-mmproj-bf16")
    requests = [ask(picture(8)), ask(picture(16)), ask({"type": "text", "text": ""})]
    fine, coarse, nothing = serve(text, requests, mmproj=mmproj, n_ctx=512)
    assert prompt_tokens(fine) == prompt_tokens(coarse) == prompt_tokens(nothing) + PICTURE_TOKENS
    found = np.stack([of_answer(fine), of_answer(coarse)])
    assert found.shape == (2, STEPS, VOCABULARY)
    return found


def ask(content: dict) -> tuple[str, dict]:
    messages = [{"role": "user", "content": [content]}]
    body = {"messages": messages, "max_tokens": STEPS, "logprobs": True, "top_logprobs": VOCABULARY, **SAMPLING}
    return "handle_chat_completions", body


def picture(square: int) -> dict:
    return {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64," + base64.b64encode(png(64, 48, square)).decode()},
    }


def prompt_tokens(answer: dict) -> int:
    return answer["usage"]["prompt_tokens"]


def tensors(path: Path) -> dict[str, tuple]:
    read = gguf.GGUFReader(path)
    return {
        t.name: (t.tensor_type.name, t.shape.tolist(), hashlib.sha256(t.data.tobytes()).hexdigest())
        for t in read.tensors
    }


def golden_tensors(name: str) -> dict[str, tuple]:
    golden = json.loads((GOLDENS / "llama.cpp" / f"{name}.json").read_text(encoding="utf-8"))
    return {t["name"]: (t["type"], t["shape"], t["sha256"]) for t in golden["tensors"]}


def png(width: int, height: int, square: int) -> bytes:
    """A picture of coloured squares of `square` pixels, 8 bits each of red, green and blue."""
    rows = (
        b"\0" + bytes(c for x in range(width) for c in (255 * ((x // square + y // square) % 2), 4 * x, 5 * y))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in chunks)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
