"""The vision_config of the OCR models in two forms: as released, and as transformers 5 writes it.

transformers: configuration_deepseek_ocr2.py, configuration_unlimited_ocr.py. Its `encoder_config` is what the release
has in `width` under the name of the encoder behind SAM.
"""

from collections.abc import Mapping

from deepgguf.models.config_schema import JsonObject, json_object

# transformers' name -> the release's.
_SAM = {
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "global_attn_indexes": "global_attn_indexes",
    "downsample_channels": "downsample_channels",
}


def released_vision(
    config: JsonObject, encoder: tuple[str, Mapping[str, str]], where: str
) -> tuple[JsonObject, JsonObject, JsonObject]:
    """`vision_config`, what it says of SAM, and of the encoder behind it, in the release's words.

    `encoder` is that encoder's name in `width`, and transformers' names of its fields to the release's. CheckpointError
    if one of these is not an object.
    """
    name, words = encoder
    vision = json_object(config.get("vision_config"), where, "vision_config")
    if "sam_config" not in vision:
        width = json_object(vision.get("width"), where, "vision_config.width")
        sam, own = (json_object(width.get(key), where, f"vision_config.width.{key}") for key in ("sam_vit_b", name))
        return vision, sam, own
    sam, own = (json_object(vision.get(key), where, f"vision_config.{key}") for key in ("sam_config", "encoder_config"))
    return {"image_size": sam.get("image_size")}, _renamed(sam, _SAM), _renamed(own, words)


def encoder_fields(config: JsonObject) -> JsonObject:
    """All that transformers' form says of the encoder behind SAM, `rope_parameters` among the rest; nothing in the
    release's.
    """
    encoder = _object(_object(config.get("vision_config")).get("encoder_config"))
    return {**encoder, **_object(encoder.get("rope_parameters"))}


def _object(value: object) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _renamed(config: JsonObject, words: Mapping[str, str]) -> JsonObject:
    return {name: config[key] for key, name in words.items() if key in config}
