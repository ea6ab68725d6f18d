"""What Ollama keeps of a model: layers, the config and the manifest, byte for byte as its server writes them.

manifest/layer.go, manifest/manifest.go, types/model/config.go, server/create.go (createModel), format/format.go.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from deepgguf.formats.gguf.types import FileType, GGUFHeader
from deepgguf.ollama.modelfile import Modelfile

MODEL, PROJECTOR = "application/vnd.ollama.image.model", "application/vnd.ollama.image.projector"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# Tensors of models that the server stores as they were sent, for its engine translates them; others it writes anew.
_AS_SENT = ("a.", "mm.", "mtp.", "s.", "v.")
# fs/ggml/type.go: 0 (F32) counts as absent, and what it does not list has no name.
_NAMED_FILE_TYPES = frozenset(FileType) - {FileType.F32, FileType.Q2_0}


class Layer(msgspec.Struct, frozen=True, omit_defaults=True, rename={"media_type": "mediaType", "source": "from"}):
    """A blob and what it is. `source` is the file's name where its bytes are as they were sent."""

    media_type: str
    digest: str
    size: int
    source: str = ""


class StoredFile(msgspec.Struct, frozen=True):
    """A whole GGUF file: the name that it goes by, its header, its SHA-256, whether it was joined of a split set."""

    name: str
    header: GGUFHeader
    sha256: str
    joined: bool = False

    @property
    def is_projector(self) -> bool:
        """Whether it sees for another model (server/create.go, isProjectorGGUF)."""
        return is_projector(self.header)

    @property
    def layer(self) -> Layer:
        """As a layer of the model."""
        kind = PROJECTOR if self.is_projector else MODEL
        as_sent = not self.joined and (self.is_projector or stays_as_sent(self.header))
        source = self.name if as_sent else ""
        return Layer(kind, f"sha256:{self.sha256}", self.header.file_size, source)


def is_projector(header: GGUFHeader) -> bool:
    """Whether Ollama takes the file for one that sees for another model."""
    keys = {name: value.value for name, value in header.keys.items()}
    architecture = keys.get("general.architecture")
    blocks, sees = keys.get(f"{architecture}.block_count"), keys.get(f"{architecture}.vision.block_count")
    encodes = keys.get("clip.has_vision_encoder") is True or keys.get("clip.has_audio_encoder") is True
    by_type = keys.get("general.type") in ("projector", "mmproj")
    return by_type or (not blocks and (bool(sees) or (architecture == "clip" and encodes)))


def stays_as_sent(header: GGUFHeader) -> bool:
    """Whether the server keeps the bytes of a model as they are (server/create.go, isEmbeddedCompatibilityTensor)."""
    return any(tensor.name.startswith(_AS_SENT) for tensor in header.tensors)


def text_layers(modelfile: Modelfile) -> Iterator[tuple[str, bytes]]:
    """(media type, bytes) of what is beside the files, in the server's order."""
    texts = [("template", modelfile.template), ("system", modelfile.system)]
    texts += [("license", text) for text in modelfile.licenses]
    yield from ((f"application/vnd.ollama.image.{kind}", text.encode()) for kind, text in texts if text)
    if modelfile.parameters:
        sorted_by_name = dict(sorted(modelfile.parameters.items()))
        yield "application/vnd.ollama.image.params", _json(_plain_numbers(sorted_by_name))
    if modelfile.messages:
        yield "application/vnd.ollama.image.messages", _json(api_messages(modelfile))


def api_messages(modelfile: Modelfile) -> list[dict[str, str]]:
    """The messages as the API has them."""
    return [{"role": role, "content": content} for role, content in modelfile.messages]


def config_bytes(files: Sequence[StoredFile], modelfile: Modelfile) -> bytes:
    """The config: what `ollama list` and `show` say of the model in these files."""
    models = [file.header for file in files if not file.is_projector]
    family, type = (models[0].keys.get(f"general.{key}") for key in ("architecture", "file_type"))
    number = type.value if type else 0
    named = [f.name for f in _NAMED_FILE_TYPES if f.value == number]
    architecture = str(family.value) if family else "unknown"
    parameters = sum(math.prod(tensor.shape) for tensor in models[0].tensors)
    also = {"renderer": modelfile.renderer, "parser": modelfile.parser, "requires": modelfile.requires}
    return _json(
        {
            "model_format": "gguf",
            "model_family": architecture,
            "model_families": [architecture],
            "model_type": human_number(parameters),
            "file_type": named[0] if named else "unknown",
            **{name: value for name, value in also.items() if value},
            "architecture": "amd64",
            "os": "linux",
        }
    )


def config_layer(digest: str, size: int) -> Layer:
    """The config's blob as a layer."""
    return Layer(_CONFIG, f"sha256:{digest}", size)


def manifest_bytes(config: Layer, layers: Iterable[Layer]) -> bytes:
    """The manifest."""
    head = {"schemaVersion": 2, "mediaType": _MANIFEST}
    return _json(head | {"config": msgspec.to_builtins(config), "layers": msgspec.to_builtins(list(layers))})


def human_number(count: int) -> str:
    """A number of weights as Ollama shows it (format.HumanNumber): 671B, 3.81M, 512K."""
    for unit, letter, decimals in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if count >= unit:
            number = count / unit
            return f"{number:.0f}{letter}" if number == math.floor(number) else f"{number:.{decimals}f}{letter}"
    return str(count)


def _plain_numbers(value: Mapping[str, object]) -> dict[str, object]:
    """As Go writes numbers: without a fraction that is 0."""
    return {n: int(v) if isinstance(v, float) and v.is_integer() else v for n, v in value.items()}


def _json(value: object) -> bytes:
    """As Go's encoder writes it: without blanks, what HTML reads escaped, a line break at the end."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode() + b"\n"
