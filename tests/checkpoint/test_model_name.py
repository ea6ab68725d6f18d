import gguf
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deepgguf.checkpoint.model_name import NameParts, name_parts, size_label, title

PARTS = ["DeepSeek", "V3", "v2", "R1", "0324", "Lite", "Chat", "Base", "Instruct", "7B", "70b", "7b1", "8x7B", "A3B", "32K", "1m", "small", "xl", "mini", "large", "bf16", "Q4_K_M", "q8_0", "iter2", "1.5", "OCR", "coder", "4bit", "fp8", "671B", "lora", "vision", "medium", "k", "2407", "1_5B", "iq2_xs", "x", "K", "3T"]  # fmt: skip
NAMES = st.lists(st.sampled_from(["", *PARTS]), min_size=1, max_size=6).map("-".join)
IDS = st.builds(
    lambda organization, name: organization + name, st.sampled_from(["", "deepseek-ai/", "./", "a b/"]), NAMES
)
COUNTS = st.one_of(
    st.integers(0, 10**13), st.sampled_from([n + d for n in (10**3, 10**6, 10**9, 10**12) for d in (-1, 0, 1)])
)


@pytest.mark.parametrize(
    "model_id, expected",
    [
        ("deepseek-ai/DeepSeek-V3", NameParts("DeepSeek-V3", "deepseek-ai", "DeepSeek", version="V3")),
        ("deepseek-ai/DeepSeek-R1", NameParts("DeepSeek-R1", "deepseek-ai")),
        (
            "deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
            NameParts("DeepSeek-R1-Distill-Llama-70B", "deepseek-ai", "DeepSeek-R1-Distill-Llama", size_label="70B"),
        ),
        ("DeepSeek-V2-Lite-Chat", NameParts("DeepSeek-V2-Lite-Chat", None, "DeepSeek-V2-Lite", "Chat")),
        ("My favourite model", NameParts("My favourite model")),
    ],
)
def test_a_name_is_taken_apart(model_id, expected):
    assert name_parts(model_id) == expected


def test_a_size_far_from_the_models_is_a_context_length():
    parts = name_parts("LLaMA-2-7B-32K", 6_738_000_000)
    assert (parts.size_label, parts.finetune) == ("7B", "32k")


@given(IDS, st.sampled_from([0, 15_000, 7_000_000_000, 671_000_000_000]))
def test_names_are_taken_apart_as_gguf_py_does(model_id, parameters):
    parts = name_parts(model_id, parameters)
    ours = (parts.name, parts.organization, parts.basename, parts.finetune, parts.version, parts.size_label)
    assert ours == gguf.Metadata.get_model_id_components(model_id, parameters)


@given(NAMES)
def test_titles_are_those_of_gguf_py(name):
    assert title(name) == gguf.Metadata.id_to_title(name)


@given(COUNTS, COUNTS, COUNTS, st.sampled_from([0, 1, 8, 256]))
@example(0, 0, 0, 0)
def test_size_labels_are_those_of_gguf_py(total, shared, expert, experts):
    assert size_label(total, shared, expert, experts) == gguf.size_label(total, shared, expert, experts)


@given(st.text(max_size=40), st.integers(0, 10**12))
def test_no_name_raises_anything(name, parameters):
    assert isinstance(name_parts(name, parameters), NameParts)
