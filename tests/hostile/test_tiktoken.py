"""Rows 110 to 114: damaged tiktoken files, absurd ones, special tokens that overlap, and the code beside them."""

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import checkpoint, edit_json, planned, put, refused

MODEL, CONFIG = "tiktoken.model", "tokenizer_config.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoint("kimi-k2", tmp_path / "kimi-k2")


def lines(folder: Path) -> list[bytes]:
    return (folder / MODEL).read_bytes().splitlines()


def put_lines(folder: Path, content: list[bytes]) -> None:
    put(folder / MODEL, b"\n".join(content))


def line(token: bytes, rank: int) -> bytes:
    return base64.b64encode(token) + b" " + str(rank).encode()


def edit_added(folder: Path, edit: Callable[[dict], object]) -> None:
    edit_json(folder / CONFIG, lambda config: edit(config["added_tokens_decoder"]))


ADVICE = "; take tiktoken.model from the original model"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({300: line(b"other", 299)}, "line 301 gives the rank 299 a second time"),
        ({300: line(b"A", 300)}, "line 301 has the token of line 33 again"),
        ({300: line(b"other", 512)}, "no line has the rank 300, of 512 tokens"),
        ({300: b"not base64! 300"}, "line 301 is 'not base64! 300', expected base64, a space and a rank"),
        ({300: b"YWI"}, "line 301 is 'YWI', expected base64, a space and a rank"),
        ({300: b"YWI= -1"}, "line 301 is 'YWI= -1', expected base64, a space and a rank"),
        ({300: b"YWI= 3 0"}, "line 301 is 'YWI= 3 0', expected base64, a space and a rank"),
        ({300: b" 300"}, "line 301 is ' 300', expected base64, a space and a rank"),
        ({300: b"YWI= " + b"9" * 5000}, f"line 301 is 'YWI= {'9' * 35}', expected base64, a space and a rank"),
        ({0: line(b"no single byte", 0)}, "no line has the single byte 33"),
    ],
)
def test_row_110_a_damaged_line_is_named(changed, message, folder):
    content = lines(folder)
    for number, text in changed.items():
        content[number] = text
    put_lines(folder, content)
    assert refused(folder) == f"tiktoken.model: {message}{ADVICE}"


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_row_110_an_empty_file_has_no_bytes(content, folder):
    put(folder / MODEL, content)
    assert refused(folder) == f"tiktoken.model: no line has the single byte 0{ADVICE}"


def test_row_110_a_binary_file_is_refused_and_its_bytes_are_escaped(folder):
    put(folder / MODEL, b"\x80\x1b[2J\x00" * 100)
    found = refused(folder)
    assert found.startswith("tiktoken.model: line 1 is ")
    assert "\x1b" not in found


def test_row_111_ten_million_lines_are_refused_unread(folder):
    with (folder / "big").open("wb") as file:
        file.write(b"YWI= 300\n" * 10_000_000)
    (folder / "big").replace(folder / MODEL)
    assert refused(folder) == "tiktoken.model: 90,000,000 bytes, more than the 41,943,040 that are allowed"


def test_row_111_a_million_blank_lines_are_nothing(folder):
    put_lines(folder, [*lines(folder), *[b""] * 1_000_000])
    assert planned(folder)["files"]


def test_row_111_too_many_tokens_are_refused(folder):
    content = [line(bytes([byte]), byte) for byte in range(256)]
    content += [line(number.to_bytes(4, "big"), number) for number in range(256, (1 << 20) + 1)]
    put_lines(folder, content)
    assert refused(folder) == f"tiktoken.model: more than 1,048,576 tokens{ADVICE}"


def test_row_111_tokens_that_would_take_hours_to_merge_are_refused(folder):
    put_lines(folder, [*lines(folder), *[line(bytes([65 + n]) * 100_000, 512 + n) for n in range(20)]])
    assert refused(folder) == f"tiktoken.model: its tokens, of up to 100,000 bytes, are too long to be merged{ADVICE}"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere"), os.mkdir])
def test_row_111_what_is_no_file_is_refused_at_once(make, folder):
    (folder / MODEL).unlink()
    make(folder / MODEL)
    assert refused(folder).startswith("tiktoken.model: ")


def token(content: object, *, special: bool = True) -> dict:
    return {"content": content, "special": special}


def test_row_112_a_named_token_among_the_ranks_is_refused(folder):
    edit_added(folder, lambda added: added.update({"300": token("<|im_end|>")}))
    assert refused(folder) == (
        "tokenizer_config.json: added_tokens_decoder names id 300, which is a rank of tiktoken.model; "
        "take both from the same model"
    )


def test_row_112_a_text_that_two_ids_have_is_refused(folder):
    edit_added(folder, lambda added: added.update({"520": token("<|im_end|>")}))
    assert "ids 514 and 520 have the same text, '<|im_end|>'" in refused(folder)


def test_row_112_a_text_that_a_rank_has_is_refused(folder):
    edit_added(folder, lambda added: added.update({"520": token("A")}))
    assert "ids 32 and 520 have the same text, 'A'" in refused(folder)


def test_row_112_what_is_no_token_is_passed_over(folder):
    strange = {"-1": token("x"), "5e2": token("x"), "٥٢٠": token("x"), "520": "x", "517": None, "": {}, "9" * 5000: {}}
    edit_added(folder, lambda added: added.update(strange))
    assert planned(folder)["files"]


def test_row_112_a_decoder_that_is_none_leaves_reserved_tokens(folder):
    edit_json(folder / CONFIG, lambda config: config.update(added_tokens_decoder=["<think>"]))
    assert [text for text in planned(folder)["warnings"] if text.startswith("tokenizer_config.json: ")] == [
        "tokenizer_config.json: has no added_tokens_decoder, so that no mark of a chat is a token: take it from the "
        "original model"
    ]


def test_row_112_named_tokens_too_far_behind_the_ranks_show_a_file_that_is_cut_off(folder):
    put_lines(folder, lines(folder)[:300])
    assert refused(folder) == (
        "tokenizer_config.json: added_tokens_decoder names id 766, which is not among the 258 behind the 300 ranks of "
        "tiktoken.model; take both from the same model"
    )


def test_row_112_a_named_token_beyond_vocab_size_is_refused(folder):
    edit_added(folder, lambda added: added.update({"768": token("<more>")}))
    assert refused(folder).startswith(
        "tokenizer_config.json: 769 tokens, but config.json has vocab_size 768: tokens were added and the embedding was "
        "not resized, namely '<more>' (768); "
    )


@pytest.mark.parametrize("there", [True, False])
def test_row_113_the_code_of_the_tokenizer_is_never_run(there, folder, tmp_path):
    mark = tmp_path / "it-was-run"
    put(folder / "tokenization_kimi.py", f"open({str(mark)!r}, 'w').close(); raise SystemExit(9)".encode())
    if there:
        assert planned(folder)["files"]
    else:
        (folder / MODEL).unlink()
        assert refused(folder).startswith("tokenizer.json: is required")
    assert not mark.exists()
    assert not (folder / "__pycache__").exists()


def test_row_113_another_class_is_not_taken_for_this_one(folder):
    edit_json(folder / CONFIG, lambda config: config.update(tokenizer_class="OtherTokenizer"))
    assert refused(folder) == (
        "tokenizer.json: is required, and there is only tiktoken.model, a tiktoken file; add the tokenizer.json of this "
        "model, or, for Kimi's tokenizer, its tokenizer_config.json, whose class is TikTokenTokenizer"
    )


CODE = "tokenization_kimi.py"


@pytest.mark.parametrize(
    "code",
    [b"class", b"\xff", b"pat_str = a" + b".b" * 60_000, b"#" * 300_000],
)
def test_row_114_code_that_cannot_be_read_is_a_warning(code, folder):
    put(folder / CODE, code)
    (found,) = [text for text in planned(folder)["warnings"] if text.startswith(f"{CODE}: ")]
    assert found.endswith(
        "; so nothing tells whether engines split text as the model does: take it from the original model"
    )


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere"), os.mkdir])
def test_row_114_what_is_no_file_of_code_does_not_hang(make, folder):
    (folder / CODE).unlink()
    make(folder / CODE)
    assert planned(folder)["files"]


@pytest.mark.parametrize("auto_map", [3, {"AutoTokenizer": []}, {"AutoTokenizer": ["../../etc/x.Y", None]}])
def test_row_114_an_auto_map_that_names_no_file_of_the_checkpoint_is_nothing(auto_map, folder):
    edit_json(folder / CONFIG, lambda config: config.update(auto_map=auto_map))
    assert not [text for text in planned(folder)["warnings"] if "pre-tokenizer" in text or ".py" in text]
