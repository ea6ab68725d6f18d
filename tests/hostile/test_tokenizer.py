"""Rows 29 to 34 and 93: damaged tokenizer files, what in them is never run, and what engines abort on."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import checkpoint, converted, edit_json, planned, put, refused

from deepgguf.formats.gguf.decode import read_header


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoint("v3", tmp_path / "v3")


def edit_tokenizer(folder: Path, edit: Callable[[dict], object]) -> None:
    edit_json(folder / "tokenizer.json", edit)


def last_token(tokenizer: dict) -> str:
    return max(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)


def give_last_token(id: object) -> Callable[[dict], object]:
    return lambda tokenizer: tokenizer["model"]["vocab"].update({last_token(tokenizer): id})


def test_row_29_a_duplicate_id_is_refused(folder):
    edit_tokenizer(folder, give_last_token(300))
    line = refused(folder)
    assert "tokenizer.json: model.vocab: id 300 is given twice, to " in line


def test_row_29_an_added_token_with_the_id_of_another_token_is_refused(folder):
    edit_tokenizer(folder, lambda t: t["added_tokens"].append({"id": 300, "content": "\x1b[2J\u202e", "special": True}))
    line = refused(folder)
    assert "tokenizer.json: added_tokens: id 300 is given twice, to " in line
    assert "x1b[2J" in line


@pytest.mark.parametrize("id", [-1, -(2**63)])
def test_row_29_a_negative_id_is_refused(folder, id):
    edit_tokenizer(folder, give_last_token(id))
    assert "tokenizer.json: Expected `int` >= 0" in refused(folder)


def test_row_29_sparse_ids_are_refused(folder):
    edit_tokenizer(folder, give_last_token(2**31 - 1))
    assert "is missing, though ids go up to 2147483647; no tokenizer has so many holes" in refused(folder)


@pytest.mark.parametrize("id", [1.0, "1", None, True, [1]])
def test_row_29_an_id_that_is_not_an_integer_is_refused(folder, id):
    edit_tokenizer(folder, give_last_token(id))
    assert "tokenizer.json: Expected `int`, got " in refused(folder)


def test_row_29_a_token_listed_twice_is_refused(folder):
    text = (folder / "tokenizer.json").read_text()
    put(folder / "tokenizer.json", text.replace('"vocab": {', '"vocab": {"twice": 1, "twice": 2, ', 1).encode())
    assert refused(folder) == "tokenizer.json: the key 'twice' appears twice in one object"


def test_row_29_more_tokens_than_vocab_size_are_refused(folder):
    edit_tokenizer(folder, lambda t: t["model"]["vocab"].update({f"more{i}": 516 + i for i in range(29)}))
    assert refused(folder) == (
        "tokenizer.json: 545 tokens, but config.json has vocab_size 544; the tokenizer belongs to another model"
    )


def enlarge_vocabulary(folder: Path, rows: int) -> None:
    """Gives the model an embedding of so many tokens, as a hole in its file."""
    edit_json(folder / "config.json", lambda config: config.update(vocab_size=rows))
    shard = folder / "model.safetensors"
    content = shard.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    end = 0
    for name in sorted(header.keys() - {"__metadata__"}, key=lambda n: header[n]["data_offsets"]):
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            header[name]["shape"][0] = rows
        first, second = header[name]["data_offsets"]
        size = rows * 512 if header[name]["shape"][0] == rows else second - first
        header[name]["data_offsets"] = [end, end + size]
        end += size
    text = json.dumps(header).encode()
    put(shard, struct.pack("<Q", len(text)) + text)
    with shard.open("r+b") as file:
        file.truncate(8 + len(text) + end)


def test_row_29_far_fewer_tokens_than_vocab_size_are_refused(folder):
    """Padding a hundred million tokens would exhaust memory."""
    enlarge_vocabulary(folder, 100_000_000)
    assert "fewer than config.json's vocab_size 100000000" in refused(folder)


@pytest.mark.parametrize("id", [2**31, 2**32, 2**63])
def test_row_30_an_id_beyond_int32_is_refused(folder, id):
    edit_tokenizer(folder, give_last_token(id))
    assert "tokenizer.json: Expected `int` <= 2147483647" in refused(folder)


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_row_31_a_lone_surrogate_in_a_key_is_refused(folder, file):
    text = (folder / file).read_text()
    put(folder / file, text.replace("{", '{"\\ud800": 0, ', 1).encode())
    assert refused(folder) == f"{file}: half of a surrogate pair in a string, which no UTF-8 text has"


def test_row_31_a_token_with_half_a_surrogate_pair_is_refused(folder):
    edit_tokenizer(folder, lambda t: t["model"]["vocab"].update({"\udfff": t["model"]["vocab"].pop(last_token(t))}))
    assert refused(folder) == "tokenizer.json: half of a surrogate pair in a string, which no UTF-8 text has"


@pytest.mark.parametrize("merge", [["nowhere", "at all"], "no where", ["i", "\x1b[2J"], ["", ""], "i", ["i n", ""]])
def test_row_32_a_merge_outside_the_vocabulary_is_refused(folder, merge):
    edit_tokenizer(folder, lambda t: t["model"]["merges"].append(merge))
    line = refused(folder)
    assert "tokenizer.json: merge 253 " in line
    assert "is not in the vocabulary" in line


@pytest.mark.parametrize("merge", [[], ["a"], ["a", "b", "c"], 1, None, {"a": "b"}])
def test_row_32_a_merge_that_is_not_a_pair_is_refused(folder, merge):
    edit_tokenizer(folder, lambda t: t["model"]["merges"].append(merge))
    assert "tokenizer.json: Expected " in refused(folder)


@pytest.mark.parametrize("regex", ["(a+)+$", "(" * 50_000, "[", "(?R)", "\\p{" + "x" * 10**6])
def test_row_33_a_regex_bomb_is_hashed_and_never_compiled(folder, regex):
    edit_tokenizer(
        folder, lambda t: t["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": regex}, type="Split")
    )
    put(folder / "README.md", b"a" * 10_000)
    warnings = planned(folder)["warnings"]
    assert any("its pre-tokenizer (SHA-256 " in w and "is not one that the engines know" in w for w in warnings)


TEMPLATE = "{% for i in range(10**9) %}{{ cycler.__init__.__globals__.os.system('touch ran') }}{% endfor %}{{"


@pytest.mark.parametrize("file", ["tokenizer_config.json", "chat_template.jinja"])
def test_row_34_a_chat_template_is_copied_and_never_rendered(folder, file):
    if file.endswith(".json"):
        edit_json(folder / file, lambda config: config.update(chat_template=TEMPLATE))
    else:
        edit_json(folder / "tokenizer_config.json", lambda config: config.pop("chat_template", None))
        put(folder / file, TEMPLATE.encode())
    converted(folder)
    made = next((folder.parent / "out").glob("*.gguf"))
    assert read_header(made).keys["tokenizer.chat_template"].value == TEMPLATE


@pytest.fixture
def template(folder: Path) -> Path:
    """The path of a chat_template.jinja that does not exist yet but would be used."""
    edit_json(folder / "tokenizer_config.json", lambda config: config.pop("chat_template", None))
    return folder / "chat_template.jinja"


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret"])
def test_row_49_a_chat_template_that_is_a_symlink_out_of_the_folder_is_refused(folder, template, target):
    (folder.parent / "secret").write_text("a password")
    template.symlink_to(target)
    assert f"chat_template.jinja: a symlink to {os.path.realpath(folder / target)}, outside" in refused(folder)


def test_row_48_a_chat_template_that_is_a_fifo_is_refused(folder, template):
    os.mkfifo(template)
    assert refused(folder) == "chat_template.jinja: a FIFO, not a regular file; download the file again"


def test_row_34_a_chat_template_of_a_terabyte_is_refused(folder, template):
    template.touch()
    os.truncate(template, 2**40)
    assert "chat_template.jinja: 1,099,511,627,776 bytes, more than the 8,388,608 that are allowed" in refused(folder)


def test_row_34_a_chat_template_that_is_not_utf8_is_refused(folder, template):
    put(template, b"{{ \xff }}")
    assert "chat_template.jinja: not UTF-8 at byte 3" in refused(folder)


@pytest.mark.parametrize("template", [1, [1], [{"name": "default"}], {"a": 1}])
def test_row_34_a_chat_template_that_is_not_text_is_refused(folder, template):
    edit_json(folder / "tokenizer_config.json", lambda config: config.update(chat_template=template))
    assert "tokenizer_config.json: " in refused(folder)


def put_generation(folder: Path, how: str) -> None:
    path = folder / "generation_config.json"
    path.unlink()
    if how == "fifo":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    elif how == "symlink":
        path.symlink_to("/etc/passwd")
    else:
        path.write_text(how)


@pytest.mark.parametrize(
    "how", ["", "[]", "{", '{"eos_token_id": "1"}', '{"a": 1, "a": 1}', "fifo", "folder", "symlink"]
)
def test_row_31_a_generation_config_that_cannot_be_used_is_a_warning(folder, how):
    put_generation(folder, how)
    found = [w for w in planned(folder)["warnings"] if w.startswith("generation_config.json: ")]
    assert len(found) == 1
    assert found[0].endswith("; nothing of it is written into the file")


@pytest.mark.parametrize("how", [b"---\n[\n---\n", b"---\nno end", b"---\na: &a [*a]\n---\n"])
def test_a_damaged_head_of_a_model_card_is_a_warning(folder, how):
    put(folder / "README.md", how)
    found = [w for w in planned(folder)["warnings"] if w.startswith("README.md: ")]
    assert len(found) == 1
    assert found[0].endswith("; nothing of it is written into the file")


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_row_48_a_tokenizer_that_is_a_fifo(folder, file):
    (folder / file).unlink()
    os.mkfifo(folder / file)
    assert refused(folder) == f"{file}: a FIFO, not a regular file; download the file again"


ABORTS = "llama.cpp aborts on such a vocabulary; give one another text"


def add_token(folder: Path, id: int, content: str) -> None:
    edit_tokenizer(folder, lambda t: t["added_tokens"].append({"id": id, "content": content, "special": False}))


def test_row_93_a_text_under_two_ids_is_refused(folder):
    add_token(folder, 516, "Ġt")
    assert refused(folder) == f"tokenizer.json: ids 259 and 516 have the same text, 'Ġt'; {ABORTS}"


def test_row_93_a_text_that_the_engine_gives_an_empty_token_is_refused(folder):
    add_token(folder, 516, "")
    add_token(folder, 517, "[EMPTY_516]")
    assert refused(folder) == f"tokenizer.json: ids 516 and 517 have the same text, '[EMPTY_516]'; {ABORTS}"


def test_row_93_an_empty_token_alone_is_allowed(folder):
    add_token(folder, 516, "")
    assert planned(folder)["warnings"] == []


def test_row_93_a_token_with_a_nul_is_refused(folder):
    add_token(folder, 516, "cut\0here")
    assert refused(folder) == (
        "output key 'tokenizer.ggml.tokens', item 516: 'cut\\x00here' holds a NUL, where the engines would end it; "
        "fix the text in the checkpoint"
    )


def test_row_93_a_chat_template_with_a_nul_is_refused(folder):
    edit_json(folder / "tokenizer_config.json", lambda config: config.update(chat_template="a\0b"))
    assert "output key 'tokenizer.chat_template': 'a\\x00b' holds a NUL" in refused(folder)


@pytest.mark.parametrize(("target", "name"), [("ollama", "[PAD0]"), ("llama.cpp", "[PAD517]")])
def test_row_93_padding_leaves_out_the_names_that_tokens_have(folder, target, name):
    add_token(folder, 516, name)
    converted(folder, "--target", target)
    made = next((folder.parent / "out").glob("*.gguf"))
    tokens = read_header(made).keys["tokenizer.ggml.tokens"].value
    assert (len(tokens), len(set(tokens)), tokens.index(name)) == (544, 544, 516)


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{{", "character 0: {{ is never closed"),
        ("{% if a", "character 0: {% is never closed"),
        ("{# a", "character 0: {# is never closed"),
        ("{{ 'a }}", 'character 2: {{ holds " \'a }}"'),
        ("{{ a ? b }}", "character 5: {{ holds '? b }}'"),
        ("{{ [1) }}", "character 5: ) closes nothing"),
        ("{{ }}", "character 0: an expression is empty"),
        ("{{ 1 + }}", "character 0: + lacks a value beside it"),
        ("{% if a %}", "character 0: {% if %} is never closed"),
        ("{% for a in b %}{% endif %}", "character 16: {% endif %} closes {% for %}"),
        ("{% endif %}", "character 0: {% endif %} closes nothing"),
        ("{% else %}", "character 0: {% else %} stands outside of if and for"),
        ("{% frobnicate %}", "character 0: {% frobnicate %} is not a statement of Jinja"),
        ("{% raw %}", "character 0: {% raw %} is never closed"),
    ],
)
def test_row_93_a_chat_template_that_no_engine_reads_is_a_warning(folder, template, found):
    edit_json(folder / "tokenizer_config.json", lambda config: config.update(chat_template=template))
    assert planned(folder)["warnings"] == [
        f"the chat template is not Jinja that an engine can read ({found}): chats will fail or use another one"
    ]


@pytest.mark.parametrize(
    "template",
    [
        "plain } text % }",
        "{% raw %}{{ {% endraw %}",
        "{{ {'a': {}} }}{{ -1 }}{{ not a }}{{ 'a' 'b' }}{{ a.b is not none }}",
        "{% set x = 1 %}{% set y %}z{% endset %}{%- if a -%}b{%- elif c -%}d{%- else -%}e{%- endif -%}",
        "{% macro f(a, b=1) %}{{ a[1:]|join(', ') }}{% endmacro %}{% for a in b if c %}{% break %}{% endfor %}",
        "{% generation %}{% call f() %}{% endcall %}{% endgeneration %}",
    ],
)
def test_row_93_a_sound_chat_template_is_no_reason_for_a_warning(folder, template):
    edit_json(folder / "tokenizer_config.json", lambda config: config.update(chat_template=template))
    assert planned(folder)["warnings"] == []


@pytest.mark.parametrize(
    ("file", "allowed"), [("tokenizer.json", "41,943,040"), ("tokenizer_config.json", "8,388,608")]
)
def test_row_96_a_string_of_250_mb_in_an_unknown_member_is_refused_unread(folder, file, allowed):
    text = (folder / file).read_bytes()
    put(folder / file, text.replace(b"{", b'{"unknown": "' + b"a" * 250_000_000 + b'", ', 1))
    assert f"more than the {allowed} that are allowed" in refused(folder)


@pytest.mark.parametrize(("file", "size"), [("tokenizer.json", 41_000_000), ("tokenizer_config.json", 8_300_000)])
def test_row_96_as_long_a_string_as_is_allowed_fits_into_memory(folder, file, size):
    """Four bytes of memory for every character, as one of them needs as many."""
    text = (folder / file).read_bytes()
    put(folder / file, text.replace(b"{", '{"unknown": "😀'.encode() + b"a" * size + b'", ', 1))
    assert planned(folder)["architecture"] == "deepseek2"


def test_row_98_more_tokens_than_gguf_readers_take_are_refused_by_the_plan(folder):
    edit_tokenizer(folder, lambda t: t["model"]["vocab"].update({f"more{i}": 516 + i for i in range(400_000)}))
    enlarge_vocabulary(folder, 1_440_000)
    assert refused(folder) == (
        "output header: 4,320,253 items of arrays, and readers take 4,194,304; "
        "no engine has a use for so much: look for the damage in the checkpoint"
    )
