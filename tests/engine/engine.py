"""The real engine: llama.cpp's server with a converted file, asked for log-probabilities over the whole vocabulary."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GOLDENS = Path(__file__).parents[1] / "goldens"
TOKENS = (0, 53, 127, 99, 402, 77, 12, 500, 31, 5)
VOCABULARY = 544

# A token that comes back without its log-probabilities, unless it is whole UTF-8 text: so every answer is made this one,
# "9" in both tokenizers. A bias changes what is chosen, not the log-probabilities, which are of the logits before it.
CHOSEN = 27
SAMPLING = {
    "temperature": 0,
    "logit_bias": [[CHOSEN, 10_000]],
    "cache_prompt": False,
}

_SERVE = Path(__file__).with_name("serve.py")
_SECONDS = 600


def log_probabilities(model: Path, *, exact: bool = False, vocabulary: int = VOCABULARY) -> NDArray[np.float64]:
    """[10, tokens]: of the token after each prefix of TOKENS, from the logits before sampling. `exact`: see `serve`."""
    requests = [("handle_completions", completion(TOKENS[: i + 1], vocabulary)) for i in range(len(TOKENS))]
    return np.stack([of_answer(answer, vocabulary)[0] for answer in serve(model, requests, exact=exact)])


def golden(name: str, folder: str = "logits") -> NDArray[np.float64]:
    """[10, tokens], or [tokens] after a picture: the same of NAME.npy in that folder of the goldens."""
    logits = np.load(GOLDENS / folder / f"{name}.npy").astype(np.float64)
    assert logits.shape[:-1] in ((len(TOKENS),), ())
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The largest difference of two log-probabilities, over all positions and tokens."""
    return float(np.abs(one - other).max())


def completion(tokens: tuple[int, ...], vocabulary: int = VOCABULARY) -> dict[str, object]:
    """A request for one token after `tokens`."""
    return {"prompt": list(tokens), "max_tokens": 1, "logprobs": vocabulary, **SAMPLING}


def of_answer(answer: dict, vocabulary: int = VOCABULARY) -> NDArray[np.float64]:
    """[generated tokens, tokens]: the log-probabilities that an answer of the server holds, each there and once."""
    assert "choices" in answer, answer
    steps = answer["choices"][0]["logprobs"]["content"]
    found = np.full((len(steps), vocabulary), np.nan)
    for row, step in zip(found, steps, strict=True):
        assert step["id"] == CHOSEN
        assert sorted(top["id"] for top in step["top_logprobs"]) == list(range(vocabulary))
        row[[top["id"] for top in step["top_logprobs"]]] = [top["logprob"] for top in step["top_logprobs"]]
    return found


def serve(
    model: Path,
    requests: list[tuple[str, dict]],
    *,
    mmproj: Path | None = None,
    draft: Path | None = None,
    drafts_by: str = "MTP",
    n_ctx: int = 256,
    verbose: bool = False,
    exact: bool = False,
) -> list[dict]:
    """The server's answers to `requests` (method of xllamacpp.Server or path, body), from a process of its own.

    `draft` has the MTP layers or the DSpark stages that draft what `model` then checks; it may be the same file.
    `verbose` answers to chats hold the prompt that was made of them. `exact`: keys and values stay F32, in the cache
    (which the engine otherwise has in F16) as in the attention.
    """
    files = {"model": str(model), "mmproj": str(mmproj or ""), "draft": str(draft or "")}
    how = {"drafts_by": drafts_by, "n_ctx": n_ctx, "verbose": verbose, "exact": exact}
    task = {**files, **how, "requests": requests}
    answers = model.with_name(f"{model.name}.answers.json")
    answers.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, _SERVE, answers],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"the engine failed on {model.name} ({done.returncode}):\n{done.stderr[-4000:]}"
    return json.loads(answers.read_text(encoding="utf-8"))
