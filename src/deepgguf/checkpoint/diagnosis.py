"""What a folder is that is not a checkpoint, or not a whole one: recognized by what *is* there.

Tables of what tools leave, each entry with the sentences that say what it is and what to do next. They are consulted
where something that a checkpoint must have is missing, or where something is there that no model has.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches

import msgspec

from deepgguf.checkpoint.shard_names import is_no_shard
from deepgguf.errors import CheckpointError, DeepggufError
from deepgguf.files.files import Files
from deepgguf.formats.json_text import SMALL_FILE, read_json
from deepgguf.tensors.source_tensor import SourceTensor

_CONFIG = "config.json"
_ADAPTER = "adapter_config.json"
_SHARD = ".safetensors"
_MOST_FOLDERS = 100  # that are looked into
_BLOCK = re.compile(r"model\.layers\.(\d{1,9})\.")


class Sign(msgspec.Struct, frozen=True):
    """A whole name that `shows` what something is, what to do next, and what was `found`.

    In both sentences "{name}" is that name, "{place}" the folder, "{base}" the model that an adapter was trained on.
    """

    shows: str
    advice: str
    found: str = ""

    def shown_by(self, names: Iterable[str]) -> str | None:
        """The first of `names` that it is."""
        return next(filter(re.compile(self.shows).fullmatch, names), None)


_LLAMACPP = "convert it by llama.cpp's convert_hf_to_gguf.py"
_ORIGINAL = "convert the original checkpoint, which it was made from"
_MERGE = "merge it into {base} first (PEFT: merge_and_unload(), then save_pretrained()) and convert the merged folder"
_SAVE = "load it by transformers and save_pretrained(), which writes SafeTensors, and convert that folder"
_EXPORT = "export it to Hugging Face's layout first (Megatron-Bridge, or the trainer's own converter)"
_DOWNLOAD = "download the model into it: `hf download ORGANIZATION/NAME --local-dir {place}`"
_WITH_THE_REST = "put config.json and the tokenizer beside the result, and convert that folder"

# Names of files and folders where there are no shards, or no config.json.
FOLDERS = (
    Sign(r"adapter_config\.json|adapter_model\..*", _MERGE, "a LoRA adapter ({name}), not a model"),
    Sign(
        r"model\d+-mp\d+\.safetensors",
        _ORIGINAL,
        "a checkpoint in the format of DeepSeek's own inference code ({name})",
    ),
    Sign(
        r"manifests|sha256-[0-9a-f]{64}",
        "Ollama runs it as it is: `ollama list` names it",
        "Ollama's own store ({name})",
    ),
    Sign(r".*\.(zip|tar|tgz|tar\.\w+|7z|rar|zst)", "unpack it, and give the folder", "an archive ({name})"),
    Sign(
        r"model_world_size_\d+_rank_\d+\.pt",
        f"run `python -m verl.model_merger merge --backend fsdp` on it; {_WITH_THE_REST}",
        "parts of a model that verl trained ({name})",
    ),
    Sign(r".*\.gguf", "run it as it is: it needs no conversion", "{name} is a GGUF file already"),
    Sign(
        r".*\.(incomplete|aria2|crdownload|part|partial)|blobs",
        "run the download again: `hf download` continues where it stopped",
        "a download that has not finished ({name})",
    ),
    Sign(
        r"global_step\d+|zero_to_fp32\.py|(bf16_)?zero_pp_rank_.*|mp_rank_\d+_model_states\.pt",
        f"run `python zero_to_fp32.py . OUT --safe_serialization` in it; {_WITH_THE_REST}",
        "a checkpoint of DeepSpeed ({name}), not yet gathered",
    ),
    Sign(
        r".*\.distcp|pytorch_model_fsdp_\d+",
        f"run `accelerate merge-weights` on it; {_WITH_THE_REST}",
        "a sharded checkpoint of FSDP ({name}), not yet merged",
    ),
    Sign(
        r"iter_\d+|latest_checkpointed_iteration\.txt|mp_rank_\d+.*|common\.pt|.*\.nemo",
        _EXPORT,
        "a checkpoint of Megatron ({name})",
    ),
    Sign(
        r".*\.(bin|pt|pth|ckpt)|pytorch_model\.bin\.index\.json", _SAVE, "PyTorch files ({name}), no SafeTensors files"
    ),
    Sign(r".*\.(h5|msgpack|npz|onnx)", _SAVE, "weights of another framework ({name}), no SafeTensors files"),
    Sign(r"models--.*", "give the folder of one model: {place}/{name}", "Hugging Face's cache of many models"),
)

# Names of tensors.
TENSORS = (
    Sign(
        r".*\.(lora_(A|B|E|embedding_[AB]|magnitude_vector)\b.*|(base_layer|modules_to_save|original_module)\..*"
        r"|(hada|oft|ia3|vera)_.*)",
        _MERGE,
        "an adapter that is not merged",
    ),
    Sign(
        r"(model\.)?layers\.\d+\.(attn|ffn)\..*|head\.weight|embed\.weight",
        _ORIGINAL,
        "a checkpoint in the format of DeepSeek's own inference code (model0-mp1.safetensors)",
    ),
    Sign(
        r"(.*\.)?(decoder\.layers\.\d+\.self_attention|embedding\.word_embeddings|linear_(qkv|fc1|kv_down_proj))\..*",
        _EXPORT,
        "a checkpoint with Megatron's names",
    ),
    Sign(
        r"(.*\.)?_?flat_param\b.*",
        "save the full state dict (FSDP: FULL_STATE_DICT) and convert that",
        "FSDP saved the weights of many tensors as one",
    ),
    Sign(
        r"(.*\.)?(score|classifier|reward_head|regression_head)\.(weight|bias)",
        "convert the chat model that it was made from",
        "a classifier or reward model, which writes no text",
    ),
    Sign(r"blk\.\d+\..*", _ORIGINAL, "a GGUF file's tensors"),
    Sign(
        r".*\.self_attn\.(embed_q|unembed_out)\.weight",
        _ORIGINAL,
        "MLX's halves of kv_b_proj, which deepgguf does not put together",
    ),
    Sign(
        r".*\.self_attn\.indexer\..*",
        'set "architectures" in config.json to ["DeepseekV32ForCausalLM"], as the original has it',
        "belongs to the indexer of DeepSeek-V3.2, but config.json says that this is another model",
    ),
)

# Names of tensors that are left over, where all that the model needs is there.
LEFTOVERS = (
    Sign(
        r".*\._?pre_quant_scale",
        _ORIGINAL,
        "activations are multiplied by it before the weights (AWQ by modelopt), which no engine does",
    ),
    Sign(
        r".*\.e_score_correction_bias",
        'set topk_method to "noaux_tc" in config.json, as DeepSeek-V3 has it',
        "belongs to a choice of experts that config.json does not have",
    ),
)

# What config.json calls models that deepgguf does not convert: architectures and model_type. The last ones catch all.
MODELS = (
    Sign(
        r"(?i).*(SequenceClassification|TokenClassification|RewardModel|ValueModel)",
        "a classifier or reward model writes no text: convert the chat model that it was made from",
    ),
    Sign(
        r"(?i).*(MTP|NextN|Eagle|Medusa|Speculator|DSpark).*",
        "this version of deepgguf does not support drafts for speculative decoding: convert the model itself",
    ),
    Sign(r"(?i)deepseek_?v4_?1.*", f"DeepSeek-V4.1 is not supported yet: {_LLAMACPP}"),
    Sign(r"(?i)deepseek_?vl.*", "DeepSeek-VL is not supported; of DeepSeek's models that see, DeepSeek-OCR and V4 are"),
    Sign(r"(?i)(janus|multi_?modality).*", f"Janus is not supported: {_LLAMACPP}"),
    Sign(r"(?i)deepseek.*", f"this version of deepgguf does not support this DeepSeek model: {_LLAMACPP}"),
    Sign(r"(?i)qwen.*", f"a Qwen model, as are DeepSeek-R1-Distill-Qwen and -R1-0528-Qwen3: {_LLAMACPP}"),
    Sign(r"(?i)llama.*", f"a Llama model, as are DeepSeek-R1-Distill-Llama, -LLM and the first -Coder: {_LLAMACPP}"),
    Sign(
        r"(?s).*",
        f"this model belongs to another family, and deepgguf converts DeepSeek models only: {_LLAMACPP}",
    ),
)


class Seen(msgspec.Struct, frozen=True):
    """What a checkpoint has: its files, its config.json, and its tensors by the names that its model's code has.

    `empty`: the names in the files of tensors without weights. `stray`: tensors that only the index has, and in which
    shard. `placeless`: those of the tensors that the model has no place for.
    """

    files: Files
    config: Mapping[str, object]
    tensors: Mapping[str, SourceTensor]
    empty: Sequence[str]
    stray: Mapping[str, str]
    placeless: Sequence[str] = ()

    @property
    def names_in_files(self) -> list[str]:
        """What the files call the tensors."""
        return [tensor.name_in_files for tensor in self.tensors.values()]


def no_config(files: Files) -> CheckpointError:
    """What the folder is that has no config.json."""
    names = files.names()
    whole = [name for name in names if name.endswith(_SHARD) and not is_no_shard(name)]
    advice = "take it from the repository that the model is from: it belongs beside the shards"
    return (None if whole else _recognized(files, names)) or CheckpointError(_CONFIG, "no such file", advice)


def no_shards(files: Files, index: str | None) -> CheckpointError:
    """What the folder is that has no SafeTensors files; `index` is the file that names some, if there is one."""
    if index:
        return CheckpointError(index, "none of the shards that it names is there", "download them into the same folder")
    names = files.names()
    found = "no safetensors files" + (", though config.json is there" if _CONFIG in names else "")
    advice = "download the shards too: `hf download` continues where it stopped"
    return _recognized(files, names) or CheckpointError(files.checkpoint_name, found, advice)


def missing_tensor(name: str, seen: Seen) -> CheckpointError:
    """Why a tensor that config.json promises may not be there."""
    causes = (cause(name, seen) for cause in _CAUSES)
    unexplained = PROMISED, "download the missing shard, or compare config.json with the original"
    found, advice = next(filter(None, causes), unexplained)
    return CheckpointError(f"tensor {name}", found, advice)


def unknown_tensors(names: Sequence[str], seen: Seen) -> CheckpointError:
    """What tensors may be that have no place in the model; `names` are those in the files."""
    others = len(names) - 1
    for sign in (*TENSORS, *LEFTOVERS):
        shown = sign.shown_by(names)
        if shown is not None:
            found = sign.found + (f" (and {others} more)" if others else "")
            return CheckpointError(f"tensor {shown}", found, _filled(sign.advice, seen.files, shown))
    more = f" and {others} more" if others else ""
    found = f"is unknown{more}: config.json does not promise it and there is no reason to drop it"
    return CheckpointError(f"tensor {names[0]}", found, "if the model does without it, leave it out with `drop`")


def other_model(names: Sequence[str]) -> str:
    """What to do with a model that deepgguf does not convert; `names` are its architectures and its model_type."""
    if not names:
        return 'compare with the original, which for DeepSeek-V3 and R1 has "architectures": ["DeepseekV3ForCausalLM"]'
    return next(sign.advice for sign in MODELS if sign.shown_by(names) is not None)


def _recognized(files: Files, names: Sequence[str]) -> CheckpointError | None:
    """What the folder is by the first entry of FOLDERS, else by what is in the folders within it."""
    if not names:
        return CheckpointError(files.checkpoint_name, "an empty folder", _filled(_DOWNLOAD, files, ""))
    return _by_sign(files, names, "") or _within(files, names)


def _by_sign(files: Files, names: Sequence[str], folder: str) -> CheckpointError | None:
    for sign in FOLDERS:
        name = sign.shown_by(names)
        if name is not None:
            name = folder + name
            found = _filled(sign.found, files, name)
            return CheckpointError(files.checkpoint_name, found, _filled(sign.advice, files, name))
    return None


def _within(files: Files, names: Sequence[str]) -> CheckpointError | None:
    """Where in the folders below a model is; of several, as trainers save them, the one with the largest number."""
    inside = {name: _names_in(files, name) for name in names[:_MOST_FOLDERS]}
    models = [name for name, found in inside.items() if _CONFIG in found or _ADAPTER in found]
    if models:
        last = max(models, key=lambda name: [int(number) for number in re.findall(r"\d{1,18}", name)])
        others = f" and {len(models) - 1} more folders" if len(models) > 1 else ""
        found = f"no checkpoint, but there is one in {last}{others}"
        return CheckpointError(files.checkpoint_name, found, f"give {files.place}/{last}")
    for name, found_there in inside.items():
        if any(file.endswith(_SHARD) for file in found_there):
            advice = "put them beside config.json and the tokenizer"
            return CheckpointError(files.checkpoint_name, f"the shards are in the folder {name}", advice)
        error = _by_sign(files, found_there, f"{name}/")
        if error:
            return error
    return None


def _names_in(files: Files, folder: str) -> list[str]:
    """The names in a folder below; none if it is none, or cannot be read."""
    try:
        return [name.removeprefix(f"{folder}/") for name in files.names_in(folder)]
    except DeepggufError:
        return []


def _filled(sentence: str, files: Files, name: str) -> str:
    base = _base_model(files) if "{base}" in sentence else ""
    return sentence.format(name=name, place=files.place, base=base)


def _base_model(files: Files) -> str:
    """What adapter_config.json says that the adapter was trained on."""
    try:
        config = read_json(files, _ADAPTER, SMALL_FILE)
    except CheckpointError:
        config = None
    named = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    return named if isinstance(named, str) and named else "its base model"


PROMISED = "config.json promises it, but no shard holds it"
_Sentences = tuple[str, str] | None


def _without_weights(name: str, seen: Seen) -> _Sentences:
    if not any(f".{empty}".endswith(f".{name.removeprefix('model.')}") for empty in seen.empty):
        return None
    found = f"has no weights, as {len(seen.empty) - 1} more: DeepSpeed ZeRO-3 saved their names only"
    return found, "run the checkpoint's zero_to_fp32.py, or save with stage3_gather_16bit_weights_on_model_save"


def _by_the_index(name: str, seen: Seen) -> _Sentences:
    shard = seen.stray.get(name)
    if shard is None:
        return None
    there = shard.split("/")[0] in seen.files.names()
    found = f"the index has it in {shard}, " + ("where it is not" if there else "which is not there")
    return found, f"download {shard}" + (" again" if there else "")


def _by_another_tool(_: str, seen: Seen) -> _Sentences:
    names = seen.names_in_files
    for sign in TENSORS:
        shown = sign.shown_by(names)
        if shown is not None:
            found = f"no shard holds it, and {shown} shows what is there: {sign.found}"
            return found, _filled(sign.advice, seen.files, shown)
    return None


def _head(name: str, seen: Seen) -> _Sentences:
    if name != "lm_head.weight":
        return None
    if "embed_tokens.weight" in seen.names_in_files:
        found = "no shard holds it: the model was saved without its head, by AutoModel"
        return found, "save it by AutoModelForCausalLM, or add lm_head.weight of the model that it was made from"
    advice = "download the missing shard; if the model has no head of its own, set it to true in config.json"
    return f"{PROMISED}, and tie_word_embeddings is false", advice


def _layer_of_mtp(name: str, seen: Seen) -> _Sentences:
    block = _BLOCK.match(name)
    if not block or f"{block[0]}eh_proj.weight" not in seen.tensors:
        return None
    found = f"no shard holds it, and layer {block[1]} is one of multi-token prediction (eh_proj)"
    return found, f"set num_hidden_layers to {block[1]} in config.json, as the original has it"


def _by_another_name(name: str, seen: Seen) -> _Sentences:
    """What lies in the same layer, or outside of all, and is most like it."""
    layer = _layer_of(name)
    near = [other for other in seen.placeless if _layer_of(other) == layer]
    if not near:
        return None
    nearest = seen.tensors[get_close_matches(name, near, 1, 0)[0]].name_in_files
    found = f"no shard holds it, but there is {nearest}, for which the model has no place"
    return found, "if another tool has renamed or joined the weights, convert the checkpoint that it was given"


def _layer_of(name: str) -> str:
    block = _BLOCK.match(name)
    return block[0] if block else ""


def _cut_off(name: str, seen: Seen) -> _Sentences:
    block = _BLOCK.match(name)
    last = max((int(m[1]) for m in map(_BLOCK.match, seen.tensors) if m), default=-1)
    if not block or int(block[1]) <= last or last < 0:
        return None
    advice = f"download the missing shard; if the model ends there, set num_hidden_layers to {last + 1} in config.json"
    return f"{PROMISED}, and the last layer of the shards is {last}", advice


# Why a promised tensor may be missing, the surest first.
_CAUSES: tuple[Callable[[str, Seen], _Sentences], ...] = (
    _without_weights,
    _by_the_index,
    _by_another_tool,
    _head,
    _layer_of_mtp,
    _by_another_name,
    _cut_off,
)
