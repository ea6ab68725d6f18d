"""Every stored form is known by being declared, and says of itself what others ask."""

import pickle

import msgspec
import pytest

from deepgguf.encodings import CLAIMS, PLAIN, PLAIN_BY_DTYPE, READ_DTYPES, WRITTEN, encoding_of, weight_of
from deepgguf.encodings.encoding import Encoding, Stored
from deepgguf.encodings.fp8 import Fp8
from deepgguf.encodings.fp8_e5m2 import Fp8E5m2
from deepgguf.encodings.int8 import Int8
from deepgguf.encodings.nvfp4 import Nvfp4
from deepgguf.encodings.opaque import Opaque
from deepgguf.encodings.packed_int import PackedInt
from deepgguf.encodings.quantized import Quantized
from deepgguf.encodings.scaled import ROW, TENSOR
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.recipes.recipe import RECIPES

FORMS = [
    *map(encoding_of, sorted(WRITTEN)),
    *(Fp8((128, 128), "F32"), Fp8E5m2(ROW, "BF16"), Int8(TENSOR, "F32", "weight_scale", zeros=True)),
    *(PackedInt((1, 32), "BF16", "weight_scale", 8, zeros=True), Nvfp4((1, 16), "F8_E4M3", "weight_scale")),
    Opaque("tensor x", "dtype I16"),
]


def test_every_type_but_nvfp4_is_a_recipe_s_and_every_recipe_s_is_written():
    assert {recipe.type for recipe in RECIPES.values()} == WRITTEN - PLAIN - {GGMLType.NVFP4}


def test_weights_may_have_three_plain_dtypes_and_three_with_scales():
    assert sorted(PLAIN_BY_DTYPE) == ["BF16", "F16", "F32"]
    assert READ_DTYPES == ("BF16", "F16", "F32", "F8_E4M3", "F8_E5M2", "I8")


def test_no_two_forms_claim_the_same_tensors():
    claims = [(c.weights, dtype, tuple(sorted(c.marks.items()))) for c, _ in CLAIMS for dtype in c.dtypes]
    assert len(set(claims)) == len(claims)


def test_what_tells_a_form_from_others_belongs_to_it():
    assert all(set(claim.marks) <= set(claim.companions) for claim, _ in CLAIMS)


def test_a_form_that_lacks_a_method_fails_when_it_is_asked():
    class Nothing(Encoding, frozen=True):
        pass

    form, stored = Nothing(), Stored("x", 0, 1, 1, ())
    for ask in (lambda: form.plain, lambda: form.ranges(1, 0, 1), lambda: form.values(stored, Buffers())):
        with pytest.raises(NotImplementedError):
            ask()


def test_plain_types_are_those_without_blocks():
    assert sorted(PLAIN) == [GGMLType.F32, GGMLType.F16, GGMLType.BF16]


def test_a_type_that_is_only_read_in_headers_has_no_form():
    with pytest.raises(ValueError, match="^Q8_1 is not among the types that deepgguf writes$"):
        encoding_of(GGMLType.Q8_1)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
def test_a_form_is_plain_data(form):
    assert pickle.loads(pickle.dumps(form)) == form
    assert msgspec.json.decode(msgspec.json.encode(form), type=type(form)) == form


@pytest.mark.parametrize("type", sorted(WRITTEN - PLAIN), ids=lambda type: type.name)
def test_a_form_is_repacked_from_itself_only(type):
    form = encoding_of(type)
    assert [other for other in FORMS if form.repacks(other, exact=True)] == [form]


def test_a_plain_form_is_never_repacked_as_its_copy_is_counted():
    assert not [form for form in map(encoding_of, PLAIN) if form.repacks(form, exact=True)]


def test_what_does_not_fit_becomes_a_narrower_type_that_does_not_fall_back_itself():
    narrower = {form.narrower for form in FORMS if isinstance(form, Quantized) and form.narrower is not None}
    assert {type.name for type in narrower} == {"Q4_0", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"}


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("a.weight", "a.weight"),
        ("a.weight_scale_inv", "a.weight"),
        ("a.weight_scale", "a.weight"),
        ("a.weight.scale", "a.weight"),
        ("a.bias_scale", "a.bias_scale"),
        ("a.scale", "a.weight"),
        ("a.weight_packed", "a.weight"),
        ("a.qweight", "a.weight"),
        ("a.weight.quant_state.bitsandbytes__nf4", "a.weight"),
        ("a.weight.other", "a.weight.other"),
        ("weight_scale", "weight_scale"),
    ],
)
def test_scales_go_with_weights(name, weight):
    assert weight_of(name) == weight
