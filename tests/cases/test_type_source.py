"""`type="source"`: each tensor in the smallest type that holds it exactly, and verified without a bound."""

import json
import re

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize
from test_quantized_sources import CONFIG, coded, source

import deepgguf
from deepgguf.cli.program import run
from deepgguf.errors import NonFiniteError, UsageError
from deepgguf.verification.equality import Equality
from quantized_forms import FORMS, compressed, packed
from tiny_checkpoint import V3, floats, stored, weights, write_checkpoint

EXPERTS = "blk.1.ffn_gate_exps.weight"


def convert(folder, file, **choices):
    return deepgguf.convert(folder, file, **{"target": "llama.cpp", "type": "source", **choices})


def equality(file, folder, **choices) -> Equality:
    report = deepgguf.verify(file, folder, **choices)
    assert report.differences == ()
    return report.source.equality


def all_equal(found: Equality) -> bool:
    return found.equal == found.weights > 0 and found.largest_rounding == 0


def types(file) -> dict[str, str]:
    return {t.name: t.tensor_type.name for t in GGUFReader(file).tensors}


# What becomes of the matrices in each form, and whether each weight is equal whatever the scales are.
EXACT = {
    "deepseek-v4-fp4": "MXFP4",
    "ct-mxfp4": "MXFP4",
    "ct-int4-g32": "Q4_0",
    "ct-int4-channel": "Q4_0",
    "ct-int4-g16-asymmetric": "F32",
    "ct-int8-channel": "Q8_0",
    "ct-int8-g32-packed": "Q8_0",
    "ct-int8-asymmetric": "F32",
    "ct-nvfp4": "F32",
}


@pytest.mark.parametrize("form", EXACT)
def test_codes_are_taken_over_as_they_are_where_a_type_has_such_and_every_weight_is_equal(tmp_path, form):
    config, make = FORMS[form]
    as_coded, as_floats = coded(make)
    folder, made, exact = source(tmp_path, as_coded, config), tmp_path / "x.gguf", tmp_path / "f.gguf"
    convert(folder, made)
    assert types(made)[EXPERTS] == EXACT[form]
    convert(write_checkpoint(tmp_path / "exact", CONFIG, as_floats), exact, type="f32")
    found, expected = ({t.name: t for t in GGUFReader(path).tensors} for path in (made, exact))
    for name, tensor in found.items():
        np.testing.assert_array_equal(dequantize(tensor.data, tensor.tensor_type), expected[name].data.view("<f4"))
    assert all_equal(equality(made, folder))


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_plain_weights_stay_as_they_are(tmp_path, dtype):
    made = weights(V3, dtype) if dtype != "BF16" else weights(V3)
    folder = write_checkpoint(tmp_path / "x", V3, made)
    convert(folder, tmp_path / "x.gguf")
    assert types(tmp_path / "x.gguf")["output.weight"] == dtype
    assert types(tmp_path / "x.gguf")["output_norm.weight"] == "F32"
    assert all_equal(equality(tmp_path / "x.gguf", folder))


def test_fp8_with_powers_of_two_for_scales_is_bf16_with_every_weight_equal(checkpoint, tmp_path):
    convert(checkpoint("v32-fp8"), tmp_path / "x.gguf")
    assert types(tmp_path / "x.gguf")[EXPERTS] == "BF16"
    assert equality(tmp_path / "x.gguf", checkpoint("v32-fp8")) == Equality(2_732_818, 2_732_818, 0.0)


def test_fp8_with_other_scales_is_rounded_once_and_plan_and_verify_say_how_often(checkpoint, tmp_path):
    folder, made = checkpoint("v3-fp8"), tmp_path / "x.gguf"
    warnings = deepgguf.plan(folder, target="llama.cpp", type="source").warnings
    assert [re.match(r"33 tensors of F8_E4M3 become BF16, which rounds", w) is not None for w in warnings] == [True]
    convert(folder, made)
    found = equality(made, folder)
    assert (found.weights, found.equal) == (3_810_636, 311_829)
    assert 2**-9 < found.largest_rounding <= 2**-8


def test_scales_that_are_powers_of_two_by_their_dtype_need_no_warning(tmp_path):
    config, make = FORMS["deepseek-v4-fp4"]
    folder = source(tmp_path, coded(make)[0], config)
    assert deepgguf.plan(folder, target="llama.cpp", type="source").warnings == ()


def test_integers_without_a_type_of_their_own_are_f32_and_the_plan_says_why(tmp_path):
    config, make = FORMS["ct-int4-g16-asymmetric"]
    folder = source(tmp_path, coded(make)[0], config)
    (tensor,) = (
        t for t in deepgguf.plan(folder, target="llama.cpp", type="source").files[0].tensors if t.info.name == EXPERTS
    )
    assert (tensor.info.type.name, tensor.note) == ("F32", "no smaller type holds every weight")


@pytest.mark.parametrize(("form", "type", "number"), [("ct-int4-g32", "Q4_0", 2), ("ct-mxfp4", "MXFP4", 38)])
def test_name_and_file_type_are_those_of_most_weights(tmp_path, form, type, number):
    config, make = FORMS[form]
    file = deepgguf.plan(source(tmp_path, coded(make)[0], config), target="llama.cpp", type="source").files[0]
    assert (file.name, file.keys["general.file_type"].value) == (f"source-{type}.gguf", number)


INT4 = compressed("pack-quantized", num_bits=4, group_size=32, strategy="group")


def with_scales(factor: float):
    """The sample in INT4 with all scales multiplied."""
    tensors, _ = coded(packed(4, 32))
    return {n: scaled(t, factor) if n.endswith("weight_scale") else t for n, t in tensors.items()}


def scaled(tensor, factor: float):
    return stored(floats(tensor) * np.float32(factor), tensor.dtype)


@pytest.mark.parametrize("factor", [2.0**-14, 2.0**30])
def test_scales_that_f16_does_not_hold_stop_the_run_with_the_tensors_name(tmp_path, factor):
    folder = source(tmp_path, with_scales(factor), INT4)
    assert deepgguf.plan(folder, target="llama.cpp", type="source").warnings == ()
    with pytest.raises(
        NonFiniteError, match=r"^tensor model\.layers\.\d\.\S+\.weight: has the scale .* not hold exactly"
    ):
        convert(folder, tmp_path / "x.gguf")
    convert(folder, tmp_path / "x.gguf", type="f32")
    assert deepgguf.verify(tmp_path / "x.gguf", folder).differences == ()


def test_scales_below_f16s_normal_numbers_are_taken_over_if_it_has_them(tmp_path):
    folder = source(tmp_path, with_scales(2.0**-8), INT4)
    convert(folder, tmp_path / "x.gguf")
    assert all_equal(equality(tmp_path / "x.gguf", folder))


@pytest.mark.parametrize("form", ["ct-int4-g32", "ct-int8-channel", "deepseek-v4-fp4"])
def test_a_changed_code_is_found_by_verify(tmp_path, form):
    config, make = FORMS[form]
    folder, made = source(tmp_path, coded(make)[0], config), tmp_path / "x.gguf"
    convert(folder, made, manifest=False)
    (tensor,) = (t for t in GGUFReader(made).tensors if t.name == EXPERTS)
    data = bytearray(made.read_bytes())
    data[int(tensor.data_offset) + 7] ^= 0x20
    made.write_bytes(data)
    (difference,) = deepgguf.compare(made, folder, type="source").differences
    assert difference.where.startswith(f"tensor {EXPERTS}, expert 0, row 0")


def test_a_file_without_a_manifest_is_told_by_its_types(tmp_path):
    config, make = FORMS["ct-int4-g32"]
    folder = source(tmp_path, coded(make)[0], config)
    convert(folder, tmp_path / "x.gguf", manifest=False)
    assert all_equal(equality(tmp_path / "x.gguf", folder))
    assert deepgguf.verify(tmp_path / "x.gguf", folder, remake=True).source.remade == len(types(tmp_path / "x.gguf"))


def test_nothing_is_chosen_for_single_tensors(tmp_path):
    folder = write_checkpoint(tmp_path / "x", V3, weights(V3))
    with pytest.raises(UsageError, match=r"`tensor_types` has no meaning for `type=\"source\"`"):
        deepgguf.plan(folder, type="source", tensor_types="ffn=q8_0")


def test_the_summary_says_that_every_weight_is_equal(checkpoint, tmp_path, capsys):
    convert(checkpoint("v32-bf16"), tmp_path / "x.gguf")
    assert run(["verify", str(tmp_path / "x.gguf"), str(checkpoint("v32-bf16"))]) == 0
    assert "every weight equal, 2,732,818 of them" in capsys.readouterr().out


def test_the_json_has_how_many_weights_are_equal(checkpoint, tmp_path, capsys):
    convert(checkpoint("v3-fp8"), tmp_path / "x.gguf")
    assert run(["verify", str(tmp_path / "x.gguf"), str(checkpoint("v3-fp8")), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["source"]["equality"]
    assert (found["weights"], found["equal"]) == (3_810_636, 311_829)
