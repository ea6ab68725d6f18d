"""DeepSeek-OCR-2, Unlimited-OCR and Kimi-K2.5 in the engine, from a picture to an answer."""

import pytest
from test_picture import picture, prompt_tokens

from deepgguf import convert
from engine import SAMPLING, distance, golden, of_answer, serve

# A small picture is seen whole: 256 tokens and the separator; or 16 rows of 16 with a line break each, and the separator.
PICTURE_TOKENS = {"ocr2": 256 + 1, "unlimited-ocr": 16 * (16 + 1) + 1}


def ask(square: int | None, vocabulary: int) -> tuple[str, dict]:
    seen = [picture(square)] if square else []
    content = [*seen, {"type": "text", "text": "Free OCR."}]
    one = {"max_tokens": 1, "logprobs": True, "top_logprobs": vocabulary, **SAMPLING}
    return "handle_chat_completions", {"messages": [{"role": "user", "content": content}], **one}


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURE_TOKENS)
def test_a_picture_is_answered_as_by_the_original_and_another_otherwise(name, checkpoint, tmp_path):
    text, mmproj = (file.path for file in convert(checkpoint(name), tmp_path / "x.gguf", target="llama.cpp").files)
    requests = [ask(square, 544) for square in (8, 16, None)]
    fine, coarse, nothing = serve(text, requests, mmproj=mmproj, n_ctx=512)
    # A line break follows every picture.
    tokens = prompt_tokens(nothing) + PICTURE_TOKENS[name] + 1
    assert prompt_tokens(fine) == prompt_tokens(coarse) == tokens
    small, large = (golden(f"{name}-picture-{kind}", "ocr2kimi/logits") for kind in ("small", "coarse"))
    assert distance(of_answer(fine)[0], small) < 0.01
    assert distance(of_answer(coarse)[0], large) < 0.01
    assert distance(of_answer(fine), of_answer(coarse)) > 0.02


def test_kimi_k25_sees_what_is_in_a_picture(checkpoint, tmp_path):
    text, mmproj = (
        file.path for file in convert(checkpoint("kimi-k25"), tmp_path / "x.gguf", target="llama.cpp").files
    )
    fine, coarse, nothing = serve(text, [ask(square, 768) for square in (8, 16, None)], mmproj=mmproj, n_ctx=1024)
    assert prompt_tokens(fine) == prompt_tokens(coarse) > prompt_tokens(nothing)
    assert distance(of_answer(fine, 768), of_answer(coarse, 768)) > 0.02
    assert distance(of_answer(fine, 768), of_answer(nothing, 768)) > 0.02
