"""The tokenizer's files and the keys that follow."""

import json

import pytest

from deepgguf import plan
from deepgguf.errors import CheckpointError
from deepgguf.formats.gguf.types import ValueType
from deepgguf.samples.make import TOKENIZERS
from tiny_checkpoint import V3, weights, write_checkpoint

TARGETS = ("ollama", "llama.cpp")
BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
TINY = V3 | {"num_hidden_layers": 1, "hidden_size": 2, "q_lora_rank": 2, "kv_lora_rank": 2, "intermediate_size": 2}


def sample(file: str, name: str = "sample-v3"):
    return json.loads((TOKENIZERS / name / file).read_text(encoding="utf-8"))


@pytest.fixture
def planned(tmp_path):
    """`planned(target, tokenizer=..., config=..., ...)`: the plan of a checkpoint with these tokenizer files."""
    numbers = iter(range(100))

    def make(target="ollama", tokenizer=None, config=None, generation=None, template=None, vocab_size=520):
        files = {
            "tokenizer.json": tokenizer,
            "tokenizer_config.json": config,
            "generation_config.json": generation,
            "chat_template.jinja": template,
        }
        model = TINY | {"vocab_size": vocab_size}
        given = {name: content for name, content in files.items() if content is not None}
        folder = write_checkpoint(tmp_path / str(next(numbers)), model, weights(model), files=given)
        return plan(folder, target=target)

    return make


@pytest.fixture
def keys(planned):
    def make(*args, **kwargs):
        found = planned(*args, **kwargs).files[0].keys
        prefix = "tokenizer."
        return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}

    return make


def values(found):
    return {name: value.value for name, value in found.items()}


@pytest.mark.parametrize("target", TARGETS)
def test_merges_as_pairs_and_as_strings_are_written_alike(keys, target):
    pairs, strings = sample("tokenizer.json"), sample("tokenizer.json")
    assert pairs["model"]["merges"][:2] == [["Ġ", "t"], ["Ġ", "a"]]
    strings["model"]["merges"] = [" ".join(pair) for pair in pairs["model"]["merges"]]
    found = keys(target, tokenizer=pairs)
    assert found == keys(target, tokenizer=strings)
    assert found["ggml.merges"].item_type is ValueType.STRING
    assert list(found["ggml.merges"].value) == strings["model"]["merges"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_special_token_as_a_string_and_as_an_object_is_written_alike(keys, target):
    config = sample("tokenizer_config.json")
    objects = config | {f"{name}_token": {"__type": "AddedToken", "content": c} for name, c in (("bos", BOS), ("eos", EOS), ("pad", PAD))}  # fmt: skip
    strings = config | {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD}
    found = keys(target, config=objects)
    assert found == keys(target, config=strings)
    ids = {name: value for name, value in found.items() if name.endswith("_token_id")}
    assert {name: value.value for name, value in ids.items()} == {
        "ggml.bos_token_id": 0,
        "ggml.eos_token_id": 1,
        "ggml.padding_token_id": 2,
    }
    assert {value.type for value in ids.values()} == {ValueType.UINT32}


def test_unk_becomes_unknown(keys):
    found = values(keys(config=sample("tokenizer_config.json") | {"unk_token": PAD}))
    assert found["ggml.unknown_token_id"] == 2


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("token", [None, "<nowhere>", {"content": "<nowhere>"}], ids=str)
def test_a_special_token_that_is_null_or_not_there_has_no_key(keys, target, token):
    found = keys(target, config=sample("tokenizer_config.json") | {"pad_token": token})
    assert "ggml.padding_token_id" not in found
    assert "ggml.bos_token_id" in found


def test_a_special_token_may_be_one_of_the_vocabulary(keys):
    assert values(keys(config=sample("tokenizer_config.json") | {"pad_token": "Ġt"}))["ggml.padding_token_id"] == 259


def test_a_special_token_that_is_left_out_has_no_key(keys):
    config = sample("tokenizer_config.json")
    del config["pad_token"]
    assert "ggml.padding_token_id" not in keys(config=config)


@pytest.mark.parametrize("target", TARGETS)
def test_lists_of_the_generation_config_are_written_as_lists(keys, target):
    found = keys(target, generation={"bos_token_id": 0, "eos_token_id": [1, 5]})
    assert list(found["ggml.eos_token_ids"].value) == [1, 5]
    assert found["ggml.eos_token_ids"].item_type is ValueType.INT32
    assert found["ggml.eos_token_id"].value == 1
    assert "ggml.bos_token_ids" not in found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("field", ["add_bos_token", "add_eos_token"])
def test_add_bos_and_add_eos_are_written_if_they_are_there_with_their_value(keys, target, field):
    config = sample("tokenizer_config.json") | {"tokenizer_class": "PreTrainedTokenizerFast"}
    for value in (True, False):
        found = keys(target, config=config | {field: value})[f"ggml.{field}"]
        assert (found.type, found.value) == (ValueType.BOOL, value)
    del config[field]
    assert f"ggml.{field}" not in keys(target, config=config)


def test_a_chat_template_is_the_tokenizer_configs_string(keys):
    config = sample("tokenizer_config.json") | {"chat_template": "{{ one }}"}
    assert values(keys(config=config, template="{{ two }}"))["chat_template"] == "{{ one }}"


def test_of_a_list_of_chat_templates_the_default_is_written(keys):
    named = [{"name": "tool_use", "template": "{{ tools }}"}, {"name": "default", "template": "{{ one }}"}]
    config = sample("tokenizer_config.json") | {"chat_template": named}
    assert values(keys(config=config, template="{{ two }}"))["chat_template"] == "{{ one }}"


def test_without_one_in_the_tokenizer_config_chat_template_jinja_is_written(keys):
    config = sample("tokenizer_config.json")
    del config["chat_template"]
    assert values(keys(config=config, template="{{ two }}\n"))["chat_template"] == "{{ two }}\n"
    assert "chat_template" not in keys(config=config)


def test_ollama_counts_padding_from_the_first_missing_token(keys):
    found = keys("ollama", vocab_size=519)
    tokens = list(found["ggml.tokens"].value)
    assert (len(tokens), tokens[-4:]) == (519, [tokens[515], "[PAD0]", "[PAD1]", "[PAD2]"])
    assert list(found["ggml.token_type"].value)[-3:] == [4, 4, 4]
    assert list(found["ggml.scores"].value) == [*range(516), -1, -1, -1]
    assert found["ggml.scores"].item_type is ValueType.FLOAT32


def test_llamacpp_names_padding_by_its_id(keys):
    found = keys("llama.cpp", vocab_size=519)
    assert list(found["ggml.tokens"].value)[-3:] == ["[PAD516]", "[PAD517]", "[PAD518]"]
    assert list(found["ggml.token_type"].value)[-3:] == [5, 5, 5]
    assert "ggml.scores" not in found


def test_an_added_token_is_of_type_3_if_it_is_special_else_4_and_llamacpp_goes_by_its_looks_too(keys):
    tokenizer = sample("tokenizer.json")
    added = [("<special>", True), ("<｜Other｜>", False), ("<|User|>", False), ("<plain>", False)]
    tokenizer["added_tokens"] += [{"id": 516 + i, "content": c, "special": s} for i, (c, s) in enumerate(added)]
    types = {target: list(keys(target, tokenizer=tokenizer)["ggml.token_type"].value) for target in TARGETS}
    assert types["ollama"][516:520] == [3, 4, 4, 4]
    assert types["llama.cpp"][516:520] == [3, 3, 3, 4]
    assert types["ollama"][100] == types["llama.cpp"][100] == 1


def test_more_tokens_than_the_configs_vocab_size_are_an_error(planned):
    with pytest.raises(CheckpointError, match=r"516 tokens, but config.json has vocab_size 515"):
        planned(vocab_size=515)


def test_holes_in_the_ids_are_filled_as_padding_is(keys):
    tokenizer = sample("tokenizer.json")
    tokenizer["added_tokens"].append({"id": 518, "content": "<far>", "special": False})
    ollama, llamacpp = (keys(target, tokenizer=tokenizer) for target in TARGETS)
    assert list(ollama["ggml.tokens"].value)[516:] == ["[PAD0]", "[PAD1]", "<far>", "[PAD2]"]
    assert list(ollama["ggml.token_type"].value)[516:] == [4, 4, 4, 4]
    assert list(ollama["ggml.scores"].value)[515:] == [515, -1, -1, 518, -1]
    assert list(llamacpp["ggml.tokens"].value)[516:] == ["[PAD516]", "[PAD517]", "<far>", "[PAD519]"]
    assert list(llamacpp["ggml.token_type"].value)[516:] == [5, 5, 4, 5]


def test_an_id_given_to_two_tokens_is_an_error(planned):
    tokenizer = sample("tokenizer.json")
    tokenizer["added_tokens"].append({"id": 100, "content": "<twice>", "special": False})
    with pytest.raises(CheckpointError, match="id 100 is given twice"):
        planned(tokenizer=tokenizer)


def test_a_checkpoint_with_only_tiktoken_is_refused_and_asks_for_tokenizer_json(tmp_path):
    folder = write_checkpoint(tmp_path / "x", TINY, weights(TINY), files={"tiktoken.model": "IQ== 0"})
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"^tokenizer\.json: is required, and there is only tiktoken\.model"):
        plan(folder)


def splits(*patterns: str):
    """A pre-tokenizer of these Split patterns, between steps that are ignored."""
    steps = [{"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False} for p in patterns]
    digits = {"type": "Digits", "individual_digits": True}
    return {"type": "Sequence", "pretokenizers": [digits, *steps, {"type": "ByteLevel", "use_regex": False}]}


def regexes(name: str) -> list[str]:
    steps = sample("tokenizer.json", name)["pre_tokenizer"]["pretokenizers"]
    return [step["pattern"]["Regex"] for step in steps if step["type"] == "Split"]


# deepseek-coder-6.7b: the patterns that llama-vocab.cpp has for it, too.
CODER = ["[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("patterns", "name"),
    [(regexes("sample-v3"), "deepseek-v3"), (regexes("sample-v2"), "deepseek-llm"), (CODER, "deepseek-coder")],
    ids=["deepseek-v3", "deepseek-llm", "deepseek-coder"],
)
def test_the_pre_tokenizer_is_recognised_by_its_patterns(planned, target, patterns, name):
    made = planned(target, tokenizer=sample("tokenizer.json") | {"pre_tokenizer": splits(*patterns)})
    assert made.files[0].keys["tokenizer.ggml.pre"].value == name
    assert not any("pre-tokenizer" in warning for warning in made.warnings)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "pre_tokenizer",
    [splits("\\p{L}+"), splits(*regexes("sample-v3")[::-1]), splits(*regexes("sample-v3"), " ")],
    ids=["another", "another order", "one more"],
)
def test_an_unrecognised_pre_tokenizer_is_written_as_deepseek_v3_with_a_warning(planned, target, pre_tokenizer):
    made = planned(target, tokenizer=sample("tokenizer.json") | {"pre_tokenizer": pre_tokenizer})
    assert made.files[0].keys["tokenizer.ggml.pre"].value == "deepseek-v3"
    assert [warning for warning in made.warnings if "pre-tokenizer" in warning and "SHA-256" in warning]
