"""Runs llama.cpp's server on one model, answers the requests from standard input, and ends.

A process of its own: the engine aborts on a file that it cannot bear, and logs to file descriptors, not to Python.
usage: serve.py ANSWERS < {"model": path, "mmproj": path or "", "n_ctx": tokens, "verbose": bool, "requests": [[method, body], ...],
"draft": path of what drafts, the model's own or another, or "", "drafts_by": "MTP" or "DSPARK", "exact": whether the cache
is F32}
"""

import json
import os
import sys
import urllib.request
from pathlib import Path

import xllamacpp


def main() -> None:
    task = json.load(sys.stdin)
    server = xllamacpp.Server(_params(task))
    answers = [_answer(server, method, body) for method, body in task["requests"]]
    Path(sys.argv[1]).write_text(json.dumps(answers), encoding="utf-8")
    sys.stdout.flush()
    # The answers are there; what the engine does with its threads afterwards is of no interest.
    os._exit(0)


def _answer(server: xllamacpp.Server, method: str, body: dict) -> object:
    """By a method of the class, or by HTTP what has none, as "/tokenize"."""
    if not method.startswith("/"):
        return getattr(server, method)(body)
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(server.listening_address + method, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def _params(task: dict) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = task["model"]
    params.mmproj.path = task["mmproj"]
    params.n_ctx = task["n_ctx"]
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.fit_params = False
    params.warmup = False
    params.verbosity = 10 if task["verbose"] else 2  # from 10 on answers have "__verbose" (server-task.cpp)
    if task["exact"]:
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if task["draft"]:
        kinds = xllamacpp.common_speculative_type
        params.speculative.types = [getattr(kinds, f"COMMON_SPECULATIVE_TYPE_DRAFT_{task['drafts_by']}")]
        params.load_mtp = task["drafts_by"] == "MTP"
        if task["draft"] != task["model"]:
            params.speculative.draft.mparams.path = task["draft"]
    # One thread sums in one order, and does not spin while it waits for the others.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    return params


main()
