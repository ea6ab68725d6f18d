"""F4, F12, F14, F21: where there is no whole model, `plan` says in one line what there is and what to do next."""

import re

import numpy as np
import pytest
from odd_folders import FOLDERS, LFS, WHOLE, with_tensors

import deepgguf
from deepgguf import CheckpointError, UsageError, convert, plan
from tiny_checkpoint import OCR, V3, stored, weights, write_checkpoint

MERGE = r"merge it into deepseek-ai/DeepSeek-V2-Lite first .* and convert the merged folder"
LLAMACPP = r"convert it by llama.cpp's convert_hf_to_gguf.py"
ORIGINAL = "convert the original checkpoint, which it was made from"

# By row and folder: what the line says is there, and what it says to do.
LINES: dict[tuple[str, str], tuple[str, str]] = {
    ("f4", "adapter"): (r"adapter: a LoRA adapter \(adapter_config.json\), not a model", MERGE),
    ("f4", "adapter_with_config"): (r"adapter_with_config: a LoRA adapter \(adapter_config.json\), not a model", MERGE),
    ("f4", "adapter_not_merged"): (".*an adapter that is not merged", "merge it into its base model first .*"),
    ("f4", "pytorch_bin"): (r".*PyTorch files \(pytorch_model-0.*\.bin\), no SafeTensors files", r"load it .*"),
    ("f4", "zero3_shell"): (
        "tensor model.embed_tokens.weight: has no weights, as 40 more: DeepSpeed ZeRO-3 saved their names only",
        ".*zero_to_fp32.py.*",
    ),
    ("f4", "deepspeed"): (r".*a checkpoint of DeepSpeed \(global_step100\), not yet gathered", r"run `python zero_.*"),
    ("f4", "fsdp"): (r".*a sharded checkpoint of FSDP \(pytorch_model_fsdp_0\), not yet merged", "run `accelerate .*"),
    ("f4", "megatron"): (r".*a checkpoint of Megatron \(iter_0000500\)", "export it to Hugging Face's layout .*"),
    ("f4", "megatron_names"): (".*: a checkpoint with Megatron's names", "export it to Hugging Face's layout .*"),
    ("f4", "inference_parts"): (r".*DeepSeek's own inference code \(model0-mp1.safetensors\)", ORIGINAL),
    ("f4", "inference_parts_of_two"): (r".*DeepSeek's own inference code \(model0-mp2.safetensors\)", ORIGINAL),
    ("f4", "verl"): (r".*that verl trained \(actor/model_world.*\)", "run `python -m verl.model_merger merge .*"),
    ("f4", "ollama_store"): (r".*: Ollama's own store \(manifests\)", "Ollama runs it as it is: .*"),
    ("f4", "archive"): (r".*: an archive \(DeepSeek-V2-Lite.tar.gz\)", "unpack it, and give the folder"),
    ("f4", "no_shards_yet"): (".*: no safetensors files, though config.json is there", "download the shards too: .*"),
    ("f4", "adapter_with_a_head"): (
        r"tensor lm_head.modules_to_save.*: an adapter that is not merged \(and 1 more\)",
        "merge it into its base model first .*",
    ),
    ("f4", "names_of_a_trainer"): (
        "tensor model.layers.1.mlp.experts.0.gate_proj.weight: no shard holds it, but there is "
        "model.layers.1.moe.expert_0.gate_proj.weight, for which the model has no place",
        "if another tool has renamed or joined the weights, convert the checkpoint that it was given",
    ),
    ("f4", "halves_of_mlx"): (
        "tensor model.layers.0.self_attn.kv_b_proj.weight: .*embed_q.weight shows .*: MLX's halves of kv_b_proj, .*",
        ORIGINAL,
    ),
    ("f4", "config_with_fewer_layers"): (
        "tensor model.layers.1.*: belongs to a layer beyond num_hidden_layers, .* not one of multi-token prediction",
        "set num_hidden_layers to 2 in config.json, or leave such layers out with `drop`",
    ),
    ("f4", "config_that_counts_mtp"): (
        r"tensor model.layers.2.*: no shard holds it, and layer 2 is one of multi-token prediction \(eh_proj\)",
        "set num_hidden_layers to 2 in config.json, as the original has it",
    ),
    ("f4", "config_with_fewer_experts"): (
        r"tensor model.layers.1.mlp.gate.weight: shape \[4, 32\], expected \[2, 32\] by config.json",
        "if experts were removed or added, set n_routed_experts to 4 in config.json",
    ),
    ("f4", "automodel"): (
        "tensor lm_head.weight: no shard holds it: the model was saved without its head, by AutoModel",
        "save it by AutoModelForCausalLM.*",
    ),
    ("f4", "without_head"): (
        "tensor lm_head.weight: config.json promises it, but no shard holds it, and tie_word_embeddings is false",
        "download the missing shard; if the model has no head of its own, set it to true in config.json",
    ),
    ("f4", "layers_cut_off"): (
        r"tensor model.layers.1.*: .*, and the last layer of the shards is 0",
        "download the missing shard; if the model ends there, set num_hidden_layers to 1 in config.json",
    ),
    ("f4", "no_config"): ("config.json: no such file", "take it from the repository that the model is from: .*"),
    ("f4", "empty"): ("empty: an empty folder", "download the model into it: `hf download .*"),
    ("f4", "model_in_a_subfolder"): (".*: no checkpoint, but there is one in final", "give .*/final"),
    ("f4", "checkpoints_of_a_trainer"): (
        ".*: no checkpoint, but there is one in checkpoint-1500 and 2 more folders",
        "give .*/checkpoint-1500",
    ),
    ("f4", "gguf_files"): (".*: DeepSeek-R1-.*.gguf is a GGUF file already", "run it as it is: .*"),
    ("f4", "gguf_files_in_a_subfolder"): (".*: UD-Q4_K_XL/DeepSeek-R1-.*gguf is a GGUF file already", "run it as .*"),
    ("f4", "git_lfs_pointers"): ("model.safetensors: a Git-LFS pointer, not the file itself", "run `git lfs pull` .*"),
    ("f5", "only_the_index"): (
        "model.safetensors.index.json: none of the shards that it names is there",
        "download .*",
    ),
    ("f5", "a_shard_of_the_index_is_missing"): (
        "tensor model.layers.1.*: the index has it in last.safetensors, which is not there",
        "download last.safetensors",
    ),
    ("f9", "two_models"): (".*: there is a whole model in model.safetensors and in model-00001.*", "move one .*"),
    ("f14", "classifier"): (r"config.json: architectures is .*", ".*: convert the chat model that it was made from"),
    ("f14", "distill"): (
        r".*\['Qwen2ForCausalLM'\].*",
        f"a Qwen model, as are DeepSeek-R1-Distill-Qwen .*: {LLAMACPP}",
    ),
    ("f14", "ocr_3"): (r".*\['DeepseekOCR3ForCausalLM'\].*", f"this version of deepgguf .*: {LLAMACPP}"),
    ("f14", "no_architectures"): (".*architectures is None.*", ".*DeepseekV3ForCausalLM.*"),
    ("f15", "config_with_another_choice_of_experts"): (
        "tensor .*e_score_correction_bias: belongs to a choice of experts that config.json does not have",
        'set topk_method to "noaux_tc" in config.json, as DeepSeek-V3 has it',
    ),
    ("f15", "bias_of_a_norm"): ("tensor model.norm.bias: is a bias, and .*", "no engine can run this model"),
    ("f7", "awq_of_modelopt"): (r"tensor .*pre_quant_scale: activations are multiplied by it .*", ORIGINAL),
    ("f21", "unknown_tensor"): ("tensor model.layers.0.extra.weight: is unknown: .*", ".* leave it out with `drop`"),
}


def line(source: object) -> str:
    with pytest.raises(deepgguf.DeepggufError) as error:
        plan(source)
    return str(error.value)


@pytest.mark.parametrize(("row", "folder"), LINES)
def test_each_odd_folder_is_told_what_it_is_and_what_to_do(tmp_path, row, folder):
    FOLDERS[folder](tmp_path / folder)
    found, advice = LINES[row, folder]
    assert re.fullmatch(f"{found}; {advice}", line(tmp_path / folder))


def test_every_odd_folder_has_its_line():
    assert {folder for _, folder in LINES} == FOLDERS.keys()


@pytest.mark.parametrize(
    ("architecture", "advice"),
    [
        ("Qwen3ForCausalLM", "a Qwen model, as are"),
        ("LlamaForCausalLM", "a Llama model, as are DeepSeek-R1-Distill-Llama"),
        ("DeepseekV41ForCausalLM", "DeepSeek-V4.1 is not supported yet"),
        ("DeepseekVLV2ForCausalLM", "DeepSeek-VL is not supported"),
        ("MultiModalityCausalLM", "Janus is not supported"),
        ("DeepseekV5ForCausalLM", "this version of deepgguf does not support this DeepSeek model"),
        ("MistralForCausalLM", "this model belongs to another family"),
        ("\n", "this model belongs to another family"),
    ],
)
def test_f14_every_other_model_is_told_its_way_by_name(tmp_path, architecture, advice):
    with_tensors(tmp_path / "x", dict, V3 | {"architectures": [architecture]})
    assert f"; {advice}" in line(tmp_path / "x")


@pytest.mark.parametrize("architectures", [None, [], ["PeftModelForCausalLM"], ["OptimizedModule"]])
def test_f14_model_type_says_what_a_trainer_wrapped(tmp_path, architectures):
    with_tensors(tmp_path / "x", dict, V3 | {"architectures": architectures, "model_type": "deepseek_v3"})
    assert plan(tmp_path / "x").architecture == "deepseek2"


@pytest.mark.parametrize(
    "address",
    [
        "deepseek-ai/DeepSeek-V2-Lite",
        "deepseek-ai/DeepSeek-V2-Lite/",
        "https://huggingface.co/deepseek-ai/DeepSeek-V2-Lite",
        "https://huggingface.co/deepseek-ai/DeepSeek-V2-Lite/tree/main",
        "hf.co/deepseek-ai/DeepSeek-V2-Lite",
    ],
)
def test_f21_a_name_of_the_hub_where_no_folder_is_called_so_is_asked_of_the_hub(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set, and the Hub's cache does not have it") as error:
        plan(address)
    assert error.value.where.partition("@")[0] == "hf:deepseek-ai/DeepSeek-V2-Lite"


def test_f21_a_misspelled_folder_is_not_taken_for_a_name_of_the_hub(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "no such folder" in line("models/DeepSeek-V2")
    assert "no such folder" in line("/models/DeepSeek-V2")


@pytest.mark.parametrize("typed", ["deepseek-v3", "DeepSeek_V3", "DeepSeek-V3 "])
def test_f21_a_misspelled_folder_is_told_which_there_is(tmp_path, typed):
    (tmp_path / "DeepSeek-V3").mkdir()
    assert line(tmp_path / typed).endswith(f": no such folder; there is {tmp_path}/DeepSeek-V3: give that")


def test_f21_a_gguf_file_is_told_that_it_needs_no_conversion(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert line(tmp_path / "x.gguf").endswith(
        "; a GGUF file needs no conversion: run it as it is, or give it to `quantize`"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("v_head.summary.weight", "the value head of reinforcement learning"),
        ("model.layers.0.self_attn._extra_state", "state of Transformer Engine"),
        ("model.layers.1.mlp.gate.local_tokens_per_expert", "counts of tokens by expert"),
        ("model.layers.0.self_attn.rotary_emb.cos_cached", "buffers that the engines compute"),
        ("model.rotary_emb.original_inv_freq", "buffers that the engines compute"),
    ],
)
def test_f21_what_trainers_leave_is_dropped_with_its_reason(tmp_path, name, reason):
    with_tensors(tmp_path / "x", lambda t: t | {name: stored(np.zeros(4), "F32")})
    (dropped,) = plan(tmp_path / "x").dropped
    assert (dropped.example, dropped.reason.startswith(reason)) == (name, True)


def test_f21_a_tensor_without_weights_does_not_stop_the_run(tmp_path):
    name = "model.layers.0.self_attn._extra_state"
    with_tensors(tmp_path / "x", lambda t: t | {name: stored(np.zeros(0), "F32")})
    assert f"tensor {name}: has no weights, so it is left out" in plan(tmp_path / "x").warnings


@pytest.mark.parametrize("content", [b"{", b"[]", LFS, b"\xff"])
def test_f12_a_preprocessor_config_that_is_not_needed_is_not_read(tmp_path, content):
    source = write_checkpoint(tmp_path / "x", V3, weights(V3))
    convert(source, tmp_path / "plain.gguf")
    (source / "preprocessor_config.json").write_bytes(content)
    convert(source, tmp_path / "odd.gguf")
    assert (tmp_path / "odd.gguf").read_bytes() == (tmp_path / "plain.gguf").read_bytes()


def test_f12_a_preprocessor_config_that_is_needed_must_be_right(tmp_path):
    source = write_checkpoint(tmp_path / "x", OCR, weights(OCR), files={"preprocessor_config.json": "{"})
    with pytest.raises(CheckpointError, match=r"^preprocessor_config\.json: not JSON"):
        plan(source, target="llama.cpp")
    assert plan(source, target="ollama").files[0].kind == "text"


@pytest.mark.parametrize("metadata", [b"null", b"{}", b'{"format":null}', b'{"step":100}', b'"pt"', b"[]"])
def test_f16_whatever_metadata_a_shard_has_changes_nothing(tmp_path, metadata):
    source = write_checkpoint(tmp_path / "x", V3, weights(V3))
    convert(source, tmp_path / "plain.gguf")
    content = (source / WHOLE).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = b'{"__metadata__":' + metadata + b"," + content[9:start]
    (source / WHOLE).write_bytes(len(header).to_bytes(8, "little") + header + content[start:])
    convert(source, tmp_path / "odd.gguf")
    assert (tmp_path / "odd.gguf").read_bytes() == (tmp_path / "plain.gguf").read_bytes()
