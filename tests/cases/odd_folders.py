"""Folders that people give to `plan`: what trainers, hubs and other tools leave, made in a few kilobytes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from respelled import Tensors

from tiny_checkpoint import V3, Stored, stored, weights, write_checkpoint, write_safetensors

ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "deepseek-ai/DeepSeek-V2-Lite", "r": 8}
INDEX = "model.safetensors.index.json"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4302348768\n"
WHOLE = "model.safetensors"
OCR_3 = V3 | {"architectures": ["DeepseekOCR3ForCausalLM"], "model_type": "deepseek_ocr3"}

Make = Callable[[Path], None]
FOLDERS: dict[str, Make] = {}
"""By name: what makes the folder, which does not exist yet."""


def folder(make: Make) -> Make:
    FOLDERS[make.__name__] = make
    return make


def touched(at: Path, *names: str) -> None:
    for name in names:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(b"x" * 16)


def with_tensors(at: Path, change: Callable[[Tensors], Tensors], config: dict = V3) -> None:
    write_checkpoint(at, config, change(weights(V3)))


def index(at: Path, weight_map: dict[str, str], **metadata: object) -> None:
    (at / INDEX).write_text(json.dumps({"metadata": metadata, "weight_map": weight_map}))


def lora(base: str = "base_model.model.model.layers.0.self_attn.o_proj") -> Tensors:
    return {f"{base}.lora_{word}.weight": stored(np.zeros((4, 4)), "BF16") for word in "AB"}


@folder
def adapter(at: Path) -> None:
    at.mkdir()
    (at / "adapter_config.json").write_text(json.dumps(ADAPTER))
    write_safetensors(at / "adapter_model.safetensors", lora())


@folder
def adapter_with_config(at: Path) -> None:
    write_checkpoint(at, V3, files={"adapter_config.json": ADAPTER})
    write_safetensors(at / "adapter_model.safetensors", lora())


@folder
def adapter_not_merged(at: Path) -> None:
    """What save_pretrained writes of a PeftModel's inner model before merge_and_unload."""
    name = "model.layers.0.self_attn.o_proj"
    with_tensors(at, lambda t: {k.replace(f"{name}.", f"{name}.base_layer."): v for k, v in t.items()} | lora(name))


@folder
def pytorch_bin(at: Path) -> None:
    write_checkpoint(at, V3)
    touched(at, "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json")


@folder
def zero3_shell(at: Path) -> None:
    with_tensors(at, lambda t: {name: Stored(tensor.dtype, (0,), b"") for name, tensor in t.items()})


@folder
def deepspeed(at: Path) -> None:
    write_checkpoint(at, V3)
    touched(at, "global_step100/zero_pp_rank_0_mp_rank_00_optim_states.pt", "zero_to_fp32.py", "latest")


@folder
def fsdp(at: Path) -> None:
    touched(at, "pytorch_model_fsdp_0/__0_0.distcp", "pytorch_model_fsdp_0/.metadata")


@folder
def megatron(at: Path) -> None:
    touched(at, "iter_0000500/mp_rank_00/model_optim_rng.pt", "latest_checkpointed_iteration.txt")


@folder
def megatron_names(at: Path) -> None:
    layers = "model.layers.0.self_attn.o_proj.weight"
    with_tensors(at, lambda t: {"decoder.layers.0.self_attention.linear_proj.weight": t[layers]})


@folder
def inference_parts(at: Path) -> None:
    write_checkpoint(at, V3)
    renamed = (("model.", ""), ("self_attn", "attn"), ("mlp", "ffn"), ("embed_tokens", "embed"), ("lm_head", "head"))
    tensors = {}
    for name, tensor in weights(V3).items():
        for old, new in renamed:
            name = name.replace(old, new, 1)
        tensors[name] = tensor
    write_safetensors(at / "model0-mp1.safetensors", tensors)


@folder
def inference_parts_of_two(at: Path) -> None:
    write_checkpoint(at, V3)
    for part in range(2):
        write_safetensors(at / f"model{part}-mp2.safetensors", {"embed.weight": stored(np.zeros((4, 4)), "BF16")})


@folder
def verl(at: Path) -> None:
    touched(at, "actor/model_world_size_8_rank_0.pt", "actor/fsdp_config.json")


@folder
def ollama_store(at: Path) -> None:
    touched(at, f"blobs/sha256-{'0' * 64}", "manifests/registry.ollama.ai/library/deepseek-r1/671b")


@folder
def archive(at: Path) -> None:
    touched(at, "DeepSeek-V2-Lite.tar.gz")


@folder
def no_shards_yet(at: Path) -> None:
    write_checkpoint(at, V3)


@folder
def adapter_with_a_head(at: Path) -> None:
    """PEFT's modules_to_save, not merged."""
    words = ("modules_to_save.default", "original_module")
    with_tensors(at, lambda t: t | {f"lm_head.{word}.weight": t["lm_head.weight"] for word in words})


@folder
def names_of_a_trainer(at: Path) -> None:
    with_tensors(at, lambda t: {name.replace("mlp.experts.", "moe.expert_"): v for name, v in t.items()})


@folder
def halves_of_mlx(at: Path) -> None:
    with_tensors(at, lambda t: {name.replace("kv_b_proj", "embed_q"): tensor for name, tensor in t.items()})


@folder
def config_with_fewer_layers(at: Path) -> None:
    with_tensors(at, dict, V3 | {"num_hidden_layers": 1})


@folder
def config_that_counts_mtp(at: Path) -> None:
    """An MTP layer that lacks its experts."""
    own = {f"model.layers.2.{name}.weight": stored(np.zeros((4, 4)), "BF16") for name in ("eh_proj", "enorm")}
    with_tensors(at, lambda t: t | own, V3 | {"num_hidden_layers": 3})


@folder
def config_with_fewer_experts(at: Path) -> None:
    with_tensors(at, dict, V3 | {"n_routed_experts": 2})


@folder
def config_with_another_choice_of_experts(at: Path) -> None:
    with_tensors(at, dict, V3 | {"topk_method": "greedy"})


@folder
def bias_of_a_norm(at: Path) -> None:
    with_tensors(at, lambda t: t | {"model.norm.bias": stored(np.zeros(32), "BF16")})


@folder
def awq_of_modelopt(at: Path) -> None:
    with_tensors(at, lambda t: t | {"model.layers.0.self_attn.o_proj.pre_quant_scale": stored(np.ones(16), "BF16")})


@folder
def automodel(at: Path) -> None:
    bare = {"architectures": ["DeepseekV3Model"]}
    with_tensors(at, lambda t: {n.removeprefix("model."): v for n, v in t.items() if n != "lm_head.weight"}, V3 | bare)


@folder
def without_head(at: Path) -> None:
    with_tensors(at, lambda t: {name: tensor for name, tensor in t.items() if name != "lm_head.weight"})


@folder
def classifier(at: Path) -> None:
    with_tensors(at, dict, V3 | {"architectures": ["DeepseekV3ForSequenceClassification"]})


@folder
def layers_cut_off(at: Path) -> None:
    with_tensors(at, lambda t: {name: tensor for name, tensor in t.items() if ".layers.1." not in name})


@folder
def distill(at: Path) -> None:
    with_tensors(at, dict, V3 | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"})


@folder
def ocr_3(at: Path) -> None:
    with_tensors(at, dict, OCR_3)


@folder
def no_architectures(at: Path) -> None:
    with_tensors(at, dict, {name: value for name, value in V3.items() if name != "architectures"})


@folder
def no_config(at: Path) -> None:
    with_tensors(at, dict)
    (at / "config.json").unlink()


@folder
def empty(at: Path) -> None:
    at.mkdir()


@folder
def model_in_a_subfolder(at: Path) -> None:
    with_tensors(at / "final", dict)


@folder
def checkpoints_of_a_trainer(at: Path) -> None:
    for step in (500, 1000, 1500):
        with_tensors(at / f"checkpoint-{step}", dict)


@folder
def gguf_files(at: Path) -> None:
    touched(at, "README.md", "DeepSeek-R1-Q4_K_M-00001-of-00009.gguf")


@folder
def gguf_files_in_a_subfolder(at: Path) -> None:
    touched(at, "UD-Q4_K_XL/DeepSeek-R1-UD-Q4_K_XL-00001-of-00008.gguf")


@folder
def git_lfs_pointers(at: Path) -> None:
    with_tensors(at, dict)
    (at / WHOLE).write_bytes(LFS)


@folder
def only_the_index(at: Path) -> None:
    write_checkpoint(at, V3)
    index(at, dict.fromkeys(weights(V3), "model-00001-of-00001.safetensors"))


@folder
def a_shard_of_the_index_is_missing(at: Path) -> None:
    tensors = weights(V3)
    write_checkpoint(at, V3)
    rest = {name: tensor for name, tensor in tensors.items() if "layers.1" not in name}
    write_safetensors(at / "body.safetensors", rest)
    index(at, {name: "body.safetensors" if name in rest else "last.safetensors" for name in tensors})


@folder
def unknown_tensor(at: Path) -> None:
    with_tensors(at, lambda t: t | {"model.layers.0.extra.weight": stored(np.zeros((4, 4)), "BF16")})


@folder
def two_models(at: Path) -> None:
    write_checkpoint(at, V3, *([weights(V3), {"x": stored(np.zeros(4), "BF16")}]))
    write_safetensors(at / WHOLE, weights(V3))
