"""F2, F3, F11, F12: what a chat needs of the file besides weights is written, wherever it stands, or said to be absent."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import deepgguf
from deepgguf import CheckpointError, UsageError
from deepgguf.checkpoint.pre_tokenizer import recognize
from tiny_checkpoint import OCR, V2, V3, weights, write_checkpoint

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
SMALL = {"num_hidden_layers": 1, "hidden_size": 2, "q_lora_rank": 2, "kv_lora_rank": 2, "intermediate_size": 2}
TINY = {name: config | SMALL for name, config in (("sample-v3", V3), ("sample-v2", V2))}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}


class Folder:
    """A small checkpoint whose tokenizer's files can be changed, and what is planned of it."""

    def __init__(self, path: Path, tokenizer: str = "sample-v3", config: dict[str, Any] | None = None) -> None:
        config = config or TINY[tokenizer]
        self.path = write_checkpoint(path / tokenizer, config, weights(config), tokenizer=tokenizer)

    def edit(self, file: str, **members: object) -> "Folder":
        """Sets members of a JSON file; None takes one away."""
        path = self.path / file
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        content = {name: value for name, value in {**content, **members}.items() if value is not None}
        return self.put(file, json.dumps(content, ensure_ascii=False))

    def put(self, file: str, text: str) -> "Folder":
        (self.path / file).parent.mkdir(exist_ok=True)
        (self.path / file).write_text(text, encoding="utf-8")
        return self

    def without(self, file: str) -> "Folder":
        (self.path / file).unlink()
        return self

    def json(self, file: str) -> Any:
        return json.loads((self.path / file).read_text(encoding="utf-8"))

    def add_tokens(self, *tokens: dict[str, object]) -> "Folder":
        return self.edit("tokenizer.json", added_tokens=self.json("tokenizer.json")["added_tokens"] + list(tokens))

    def keys(self, **choices: Any) -> dict[str, Any]:
        keys = deepgguf.plan(self.path, **choices).files[0].keys
        return {k.removeprefix("tokenizer.").removeprefix("ggml."): v.value for k, v in keys.items()}

    def warnings(self, **choices: Any) -> list[str]:
        return list(deepgguf.plan(self.path, **choices).warnings)


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def present(keys: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: keys[name] for name in names if name in keys}


# F2: the name of the pre-tokenizer


def resaved(folder: Folder) -> Folder:
    """As transformers 5.0 to 5.10 saves it."""
    config = folder.json("tokenizer_config.json")
    folder.edit("tokenizer.json", pre_tokenizer=METASPACE, normalizer=None)
    text = {name: config[name]["content"] for name in ("bos_token", "eos_token", "pad_token")}
    return folder.put("tokenizer_config.json", json.dumps(text | {"tokenizer_class": "LlamaTokenizer"})).put(
        "chat_template.jinja", config["chat_template"]
    )


@pytest.mark.parametrize(("tokenizer", "name"), [("sample-v2", "deepseek-llm"), ("sample-v3", "deepseek-v3")])
def test_f2_without_patterns_the_pre_tokenizer_is_that_of_the_models_family(tmp_path, tokenizer, name):
    folder = resaved(Folder(tmp_path, tokenizer))
    assert folder.keys()["pre"] == name
    assert folder.warnings() == [
        "tokenizer.json: its pre-tokenizer has no split patterns, which transformers 5 loses when it saves a tokenizer "
        f"(its issue 45488), and its vocabulary is not a known one; {name} is written, as most models of this kind have "
        "it: take tokenizer.json and tokenizer_config.json from the original model, or choose with `pre`"
    ]


def test_f2_a_resaved_tokenizer_keeps_its_bos(folder):
    assert present(resaved(folder).keys(), "bos_token_id", "add_bos_token") == {
        "bos_token_id": 0,
        "add_bos_token": True,
    }


def test_f2_without_patterns_the_vocabulary_tells_the_pre_tokenizer(monkeypatch):
    merges = [f"{i} {i}" for i in range(2000)]
    digest = hashlib.sha256("\n".join(merges[:1000]).encode()).hexdigest()
    monkeypatch.setattr("deepgguf.checkpoint.pre_tokenizer.VOCABULARIES", {digest: "deepseek-coder"})
    found = recognize(METASPACE, merges)
    assert (found.name, found.by_vocabulary, found.lost) == ("deepseek-coder", True, True)
    assert recognize(METASPACE, merges[:1999]).name == "deepseek-coder"
    assert recognize(METASPACE, merges[1:]).name is None


def test_f2_the_pre_tokenizer_can_be_chosen(folder):
    resaved(folder)
    assert folder.keys(pre="deepseek-coder")["pre"] == "deepseek-coder"
    assert folder.warnings(pre="deepseek-coder") == []


def test_f2_a_name_that_llamacpp_does_not_know_is_refused(folder):
    with pytest.raises(
        UsageError, match="`pre`: llama.cpp knows no pre-tokenizer 'deepseek-v4', and loads no file with"
    ):
        folder.warnings(pre="deepseek-v4")


def test_f2_a_file_with_a_chosen_pre_tokenizer_is_verified(folder, tmp_path):
    deepgguf.convert(resaved(folder).path, tmp_path / "x.gguf", pre="deepseek-coder")
    assert deepgguf.compare(tmp_path / "x.gguf", folder.path).differences == ()


def test_f2_another_pre_tokenizer_than_the_patterns_say_is_verified_only_as_it_was_chosen(folder, tmp_path):
    deepgguf.convert(folder.path, tmp_path / "x.gguf", pre="deepseek-coder")
    (difference,) = deepgguf.compare(tmp_path / "x.gguf", folder.path).differences
    assert "tokenizer.ggml.pre" in difference.where
    assert deepgguf.compare(tmp_path / "x.gguf", folder.path, pre="deepseek-coder").differences == ()


# F3: special tokens

NAMELESS = {"bos_token": None, "eos_token": None, "pad_token": None}
PLACES: dict[str, Callable[[Folder], object]] = {
    "tokenizer_config.json, as a text": lambda f: f.edit("tokenizer_config.json", bos_token=BOS, eos_token=EOS),
    "tokenizer_config.json, as an id": lambda f: f.edit("tokenizer_config.json", bos_token=0, eos_token=1),
    "special_tokens_map.json": lambda f: f.edit("special_tokens_map.json", bos_token=BOS, eos_token={"content": EOS}),
    "the post-processor": lambda f: f.edit("tokenizer.json", post_processor=template(BOS, EOS)),
    "config.json": lambda f: f.edit("config.json", bos_token_id=0, eos_token_id=1),
    "config.json, lists": lambda f: f.edit("config.json", bos_token_id=[0], eos_token_id=[1, 5]),
    "config.json, text_config": lambda f: f.edit("config.json", text_config={"bos_token_id": 0, "eos_token_id": 1}),
    "generation_config.json": lambda f: f.edit("generation_config.json", bos_token_id=0, eos_token_id=[1, -1]),
}


def template(first: str, last: str = "") -> dict[str, object]:
    """A post-processor that puts tokens around a text."""
    piece = {"Sequence": {"id": "A", "type_id": 0}}
    around = [{"SpecialToken": {"id": token, "type_id": 0}} if token else None for token in (first, last)]
    single = [part for part in (around[0], piece, around[1]) if part]
    return {"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing", "single": single}]}


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
@pytest.mark.parametrize("place", PLACES)
def test_f3_special_tokens_are_found_wherever_they_stand(folder, place, target):
    PLACES[place](folder.edit("tokenizer_config.json", **NAMELESS))
    assert present(folder.keys(target=target), "bos_token_id", "eos_token_id") == {"bos_token_id": 0, "eos_token_id": 1}
    assert folder.warnings() == []


def test_f3_without_tokenizer_config_json_the_ids_of_config_json_count_and_the_rest_is_said_to_lack(folder):
    folder.without("tokenizer_config.json").edit("config.json", bos_token_id=0, eos_token_id=1)
    names = ("bos_token_id", "eos_token_id", "add_bos_token", "chat_template")
    assert present(folder.keys(), *names) == {"bos_token_id": 0, "eos_token_id": 1}
    assert folder.warnings() == [
        "nothing says whether a prompt begins with BOS, so that engines add none: take tokenizer_config.json from the "
        "original model, or write into it add_bos_token",
        "the file has no chat template, so that engines take one of another model: to chat, give the original model's "
        "with `chat_template`; base models have none",
    ]


def test_f3_the_tokenizers_own_names_go_before_ids(folder):
    folder.edit("config.json", eos_token_id=2).edit("generation_config.json", eos_token_id=5)
    assert folder.keys()["eos_token_id"] == 1


def test_f3_config_json_goes_before_generation_config_json(folder):
    folder.edit("tokenizer_config.json", **NAMELESS).edit("generation_config.json", bos_token_id=9, eos_token_id=5)
    assert folder.edit("config.json", eos_token_id=2).keys()["eos_token_id"] == 2


@pytest.mark.parametrize("place", ["added_tokens_decoder", "added_tokens.json"])
def test_f3_a_token_that_tokenizer_json_lacks_is_taken_from_where_it_stands(folder, place):
    folder.edit("tokenizer_config.json", eos_token="<|end_turn|>")
    if place == "added_tokens.json":
        folder.edit(place, **{"<|end_turn|>": 518})
    else:
        folder.edit("tokenizer_config.json", **{place: {"518": {"content": "<|end_turn|>", "special": True}}})
    keys = folder.keys(target="llama.cpp")
    assert (keys["eos_token_id"], keys["tokens"][517:], keys["token_type"][517:]) == (
        518, ["[PAD517]", "<|end_turn|>", "[PAD519]"], [5, 3, 5],
    )  # fmt: skip


def test_f3_where_the_files_contradict_each_other_tokenizer_json_counts(folder):
    decoder = {"1": {"content": "<other>"}, "519": {"content": EOS}, "x": 1, "517": {}}
    tokens = folder.keys()["tokens"]
    assert folder.edit("tokenizer_config.json", added_tokens_decoder=decoder).keys()["tokens"] == tokens


def test_f3_an_eos_that_is_not_a_token_is_named(folder):
    folder.edit("tokenizer_config.json", eos_token="<|nowhere|>").edit("config.json", eos_token_id=1)
    assert folder.keys()["eos_token_id"] == 1
    assert folder.warnings() == [
        "tokenizer_config.json names '<|nowhere|>' as EOS, which is not a token of tokenizer.json; 1 is written instead: "
        "take both from the same model"
    ]


def test_f3_a_file_without_bos_and_eos_is_said_to_lack_them(folder):
    folder.edit("tokenizer_config.json", **NAMELESS)
    assert [warning.split(",")[0] for warning in folder.warnings()] == [
        "the file has no EOS token",
        "the file has no BOS token",
    ]


@pytest.mark.parametrize(
    ("config", "post_processor", "expected"),
    [
        ({"add_bos_token": False}, template(BOS), False),
        ({}, template(BOS), True),
        ({}, template(BOS)["processors"][1], True),
        ({}, template(""), False),
        ({}, template(EOS), False),
        ({"tokenizer_class": "LlamaTokenizerFast"}, None, True),
        ({"tokenizer_class": "LlamaTokenizerFast"}, template(""), False),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, {"type": "ByteLevel"}, None),
    ],
)
def test_f3_add_bos_is_as_tokenizer_config_json_says_else_the_template_else_the_class(
    folder, config, post_processor, expected
):
    folder.edit("tokenizer_config.json", **{"add_bos_token": None, "tokenizer_class": None} | config)
    assert folder.edit("tokenizer.json", post_processor=post_processor).keys().get("add_bos_token") is expected


def test_f3_add_eos_is_as_the_template_says(folder):
    folder.edit("tokenizer_config.json", add_eos_token=None).edit("tokenizer.json", post_processor=template(BOS, EOS))
    assert folder.keys()["add_eos_token"] is True


# F3: chat templates


@pytest.fixture
def bare(folder) -> Folder:
    return folder.edit("tokenizer_config.json", chat_template=None)


NAMED = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]
MORE: dict[str, Callable[[Folder], object]] = {
    "a list": lambda f: f.edit("tokenizer_config.json", chat_template=NAMED),
    "an object": lambda f: f.edit("tokenizer_config.json", chat_template={"default": "D", "tool_use": "T"}),
    "chat_template.json": lambda f: f.edit("chat_template.json", chat_template=NAMED),
    "additional_chat_templates": lambda f: f.put("chat_template.jinja", "D").put(
        "additional_chat_templates/tool_use.jinja", "T"
    ),
    "both": lambda f: f.edit("tokenizer_config.json", chat_template="D").put(
        "additional_chat_templates/tool_use.jinja", "T"
    ),
}


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
@pytest.mark.parametrize("place", MORE)
def test_f3_all_templates_are_written_under_the_keys_that_llamacpp_reads(bare, place, target):
    MORE[place](bare)
    keys = bare.keys(target=target)
    assert {name: value for name, value in keys.items() if name.startswith("chat_template")} == {
        "chat_template": "D",
        "chat_template.tool_use": "T",
        "chat_templates": ["tool_use"],
    }


def test_f3_one_template_of_chat_template_json_is_the_default(bare):
    assert bare.edit("chat_template.json", chat_template="D").keys()["chat_template"] == "D"


def test_f3_templates_without_a_default_are_written_with_a_warning(bare):
    bare.edit("tokenizer_config.json", chat_template=[{"name": "my chat", "template": "C"}])
    keys = bare.keys()
    assert present(keys, "chat_template", "chat_template.my_chat", "chat_templates") == {
        "chat_template.my_chat": "C",
        "chat_templates": ["my_chat"],
    }
    assert bare.warnings() == [
        "none of the chat templates (my_chat) is called default, so that engines take another model's: give the one for "
        "chats with `chat_template`"
    ]


def test_f3_a_named_template_that_no_engine_reads_is_named(folder):
    folder.put("additional_chat_templates/tool_use.jinja", "{{")
    (warning,) = folder.warnings()
    assert warning.startswith("the chat template tool_use is not Jinja that an engine can read (character 0: ")


def test_f3_a_folder_of_templates_may_not_lead_out_of_the_checkpoint(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder.path / "additional_chat_templates").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"additional_chat_templates: a symlink to .*, outside"):
        folder.warnings()


def test_f3_all_templates_together_are_no_larger_than_one_file_may_be(folder):
    for name in "ab":
        folder.put(f"additional_chat_templates/{name}.jinja", "x" * 5_000_000)
    with pytest.raises(
        CheckpointError, match=r"^additional_chat_templates/b\.jinja: 5,000,000 bytes, more than the 3,"
    ):
        folder.warnings()


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
def test_f3_deepseek_ocr_has_the_template_of_its_reference_converter(tmp_path, target):
    folder = Folder(tmp_path, config=OCR)
    own = folder.keys(target=target)["chat_template"]
    folder.edit("tokenizer_config.json", chat_template=None)
    assert folder.keys(target=target)["chat_template"] == "{% for m in messages %}{{m['content']}}{% endfor %}" != own
    assert not any("template" in warning for warning in folder.warnings(target=target))


# F11: the ids of tokens


def test_f11_tokens_that_were_added_without_resizing_the_embedding_are_named(folder):
    folder.add_tokens(*({"id": id, "content": f"<new{id}>", "special": True} for id in range(516, 523)))
    with pytest.raises(CheckpointError) as error:
        folder.keys()
    assert str(error.value) == (
        "tokenizer.json: 523 tokens, but config.json has vocab_size 520: tokens were added and the embedding was not "
        "resized, namely '<new520>' (520), '<new521>' (521), '<new522>' (522); remove them from the tokenizer, or save "
        "the model again after model.resize_token_embeddings"
    )


def test_f11_a_hole_in_the_ids_is_filled_as_llamacpp_does(folder):
    folder.add_tokens({"id": 518, "content": "<|extra|>", "special": True})
    keys = folder.keys(target="llama.cpp")
    assert keys["tokens"][516:] == ["[PAD516]", "[PAD517]", "<|extra|>", "[PAD519]"]
    assert keys["token_type"][516:] == [5, 5, 3, 5]


def test_f11_a_vocab_size_that_was_not_updated_is_the_likely_cause(folder):
    folder.edit("config.json", vocab_size=517)
    with pytest.raises(CheckpointError) as error:
        folder.keys()
    assert str(error.value) == (
        "tensor model.embed_tokens.weight: shape [520, 2], expected [517, 2] by config.json; if the embedding was resized "
        "and vocab_size not updated, set vocab_size to 520 in config.json"
    )


def test_f11_an_added_token_with_the_text_of_another_id_is_refused(folder):
    folder.add_tokens({"id": 516, "content": "!", "special": False})
    with pytest.raises(CheckpointError, match="ids 3 and 516 have the same text, '!'; llama.cpp aborts"):
        folder.keys()


# F12: values that older transformers and trainers write


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_f12_minus_one_is_none(folder, file):
    plain = folder.keys()
    folder.edit("tokenizer_config.json", unk_token=None).edit(file, pad_token_id=-1, unk_token_id=-1, sep_token_id=[-1])
    assert (folder.keys(), folder.warnings()) == (plain, [])


def test_f12_every_eos_of_a_list_is_written_but_minus_one(folder):
    folder.edit("generation_config.json", eos_token_id=[1, -1, 2], temperature=None)
    assert folder.keys()["eos_token_ids"] == [1, 2]
