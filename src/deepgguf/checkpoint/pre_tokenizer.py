"""Which pre-tokenizer a tokenizer has, by the name that llama.cpp gives it (llama-vocab.cpp, tokenizer_pre).

Its patterns decide. transformers 5.0 to 5.10 loses them when it saves a tokenizer of class LlamaTokenizer, DeepSeek's
(its issue 45488); then the merges tell which vocabulary it is, whatever tokens were added to it. Nothing is run:
patterns are hashed and compared.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from deepgguf.checkpoint.tokenizer_code import SplitPattern

# SHA-256 over the patterns of the Split steps, or over pat_str of a tiktoken tokenizer.
PATTERNS = {
    "de5781783b193d5ccf5b1b28edfa70fa816ce78d54603fdc422cfd8d4ea4411f": "kimi-k2",
    "3e41884740914736a01647a8d1d6426e0e5aed47b7fdb19dfb81d31e3653a502": "deepseek-v3",
    "03df5c5863ad70781dcfdef491ead25140f895fe8010964be0daefe27be32b02": "deepseek-llm",
    "21cde974d587f0d54dc8d56b183cc1e6239600172035c68fbd6d4b9f8da0576e": "deepseek-coder",
}

# SHA-256 over the first merges of a vocabulary, one a line: of V3, R1, V3.1 (128,000 tokens), of DeepSeek LLM, V2,
# V2-Lite, Coder-V2 (100,000) and of Coder (32,000). The samples' vocabularies have fewer.
FIRST_MERGES = 1000
VOCABULARIES = {
    "c7c7f9691246d37c1eafdff8f8e2a2935664ba759fbd8912cc793280bd50a866": "deepseek-v3",
    "f4e972b4038145095cb761752859d0395aad59c5311a45cb379e6866d4514c40": "deepseek-llm",
    "1b6e7706038df63c9bcd5814346afe1924711d77a3149312f2d25f060020c2cf": "deepseek-coder",
}

# The names that llama.cpp knows for byte-level BPE (llama-vocab.cpp of version 0.5); it loads no file with another.
KNOWN_NAMES = frozenset(
    """
    a.x-4.0 afmoe bailingmoe bailingmoe2 bloom chameleon chatglm-bpe codeshell cohere2moe command-r dbrx
    deepseek-coder deepseek-llm deepseek-r1-qwen deepseek-v3 default exaone exaone-moe exaone4 f2llmv2 falcon
    falcon-h1 falcon3 gigachat glm4 glm5 gpt-2 gpt-4o gpt3-finnish granite-docling granite-embed-multi-311m
    granite-embed-multi-97m grok-2 hunyuan hunyuan-dense hy_v4 jais jais-2 jina-de jina-es jina-v1-en
    jina-v2-code jina-v2-de jina-v2-es jina-v5-nano joyai-llm kanana2 kimi-k2 kormo laguna lfm2 llada-moe
    llama-bpe llama-v3 llama3 llama4 megrez mellum mellum2 midm-2.0 minerva-7b minicpm5 minimax-m2 modern-bert
    mpt olmo phi-2 pixtral poro-chat qwen2 qwen35 refact roberta-bpe sarvam-moe seed-coder smaug-bpe smollm
    solar-open spark2_5 stablelm2 starcoder superbpe talkie tekken tiny_aya trillion ufakzeka viking whitespace
    youtu
    """.split()  # noqa: SIM905 - ninety lines otherwise
)


class PreTokenizer(msgspec.Struct, frozen=True):
    """What `file` says of it, tokenizer.json as a rule.

    `name` is llama.cpp's, None if neither patterns nor merges are known; `by_patterns` and `by_vocabulary` say which of
    them told. `digest` is the SHA-256 of the patterns, "" without any; `lost` whether transformers 5 has replaced them.
    """

    name: str | None
    digest: str = ""
    by_patterns: bool = False
    by_vocabulary: bool = False
    lost: bool = False
    file: str = "tokenizer.json"


def of_tiktoken(pattern: SplitPattern | None) -> PreTokenizer:
    """Kimi-K2's, by the name of the tokenizer's class; `pattern` is what the code of that class has, if it is there."""
    if pattern is None:
        return PreTokenizer("kimi-k2", by_vocabulary=True)
    digest = hashlib.sha256(pattern.text.encode()).hexdigest()
    return PreTokenizer("kimi-k2", digest, by_patterns=PATTERNS.get(digest) == "kimi-k2", file=pattern.file)


def recognize(pre_tokenizer: object, merges: Sequence[str]) -> PreTokenizer:
    """The pre-tokenizer that `pre_tokenizer` of tokenizer.json, or else the merges, tell."""
    patterns = list(_patterns(pre_tokenizer))
    digest = hashlib.sha256("".join(patterns).encode()).hexdigest() if patterns else ""
    if digest in PATTERNS:
        return PreTokenizer(PATTERNS[digest], digest, by_patterns=True)
    name = VOCABULARIES.get(hashlib.sha256("\n".join(merges[:FIRST_MERGES]).encode()).hexdigest())
    lost = not patterns and any(step.get("type") == "Metaspace" for step in _steps(pre_tokenizer))
    return PreTokenizer(name, digest, by_vocabulary=name is not None, lost=lost)


def _patterns(pre_tokenizer: object) -> Iterator[str]:
    """The regular expressions of the Split steps, in order."""
    for step in _steps(pre_tokenizer):
        pattern = step.get("pattern") if step.get("type") == "Split" else None
        regex = pattern.get("Regex") if isinstance(pattern, Mapping) else None
        if isinstance(regex, str):
            yield regex


def _steps(pre_tokenizer: object) -> Iterator[Mapping[str, object]]:
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer]) if isinstance(pre_tokenizer, Mapping) else []
    yield from (step for step in (steps if isinstance(steps, list) else []) if isinstance(step, Mapping))
