"""The two ways of a model into Ollama: written into its store, or sent to its server; and which of them is taken."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from deepgguf.errors import OutputError, UsageError
from deepgguf.executors.executor import Progress
from deepgguf.formats.gguf.types import Value
from deepgguf.ollama.address import server_address
from deepgguf.ollama.client import Client
from deepgguf.ollama.engine import projector_of, refuse_old_engine
from deepgguf.ollama.layers import StoredFile, api_messages, config_bytes, config_layer, manifest_bytes, text_layers
from deepgguf.ollama.name import ModelName, known_names
from deepgguf.ollama.request import Request, Say, Source, Way
from deepgguf.ollama.store import Store, layer_of, store_folders

_SAME_STORE = "set OLLAMA_MODELS as the server has it"


class StoreWay:
    """Into the store on this machine: what is written is the model's blob."""

    way: Way = "store"

    def __init__(self, store: Store, client: Client | None, version: str = "") -> None:
        """`client` is that of the server whose store it is, `version` that server's; None and "" if none is running."""
        self.store, self.client, self.version = store, client, version

    @property
    def where(self) -> str:
        """The folder."""
        return str(self.store.root)

    def names(self) -> list[ModelName]:
        """The models that there are."""
        return self.store.names()

    def holds(self, name: ModelName, sha256: Sequence[str]) -> bool:
        """Whether the model of this name is made of these files."""
        layers = self.store.layers(name.spelled_as_in(self.store.names()))
        return {f"sha256:{digest}" for digest in sha256} <= set(layers)

    def publish(self, request: Request, files: Sequence[tuple[Path, StoredFile]]) -> None:
        """Makes the model of whole, synced files within the store; they get the names of their blobs.

        Config and manifest are written last: until then there is no model of this name, or the one that there was.
        """
        store, name = self.store, request.name.spelled_as_in(self.store.names())
        staging = store.staging(request.name)
        store.make_folder(store.blobs)
        before = store.layers(name)
        if before and not request.overwrite and not self.holds(name, [file.sha256 for _, file in files]):
            raise _taken(name)  # since the work began
        for path, file in files:
            store.add_file(path, file.sha256)
        stored = [file for _, file in sorted(files, key=lambda pair: pair[1].name)]
        layers = [file.layer for file in stored]
        for media_type, data in text_layers(request.modelfile):
            layers.append(layer_of(media_type, store.add_bytes(data, staging), data))
        config = config_bytes(stored, request.modelfile)
        own = config_layer(store.add_bytes(config, staging), len(config))
        store.write_manifest(name, manifest_bytes(own, layers), staging)
        store.remove_unused(before)

    def finish(self, name: ModelName, say: Say) -> None:
        """Removes the folder in which the model was made; says what it still holds.

        OutputError if the server that is running does not show the model: then its store is another.
        """
        staging = self.store.staging(name)
        self.store.clear(staging)
        if staging.exists():
            say(f"{staging} still holds what an interrupted run with other choices left; remove it")
        if self.client and not name.is_among(known_names(self.client.models())):
            found = f"the server at {self.client.address} does not show {name}: its models are elsewhere"
            raise OutputError(self.store.root, found, f"{_SAME_STORE}, or use its API")


class ApiWay:
    """To the server: files are sent as blobs, and it makes the model, for which it may write them once more."""

    way: Way = "api"

    def __init__(self, client: Client, version: str, models: Path | None = None) -> None:
        """`models` is where the server keeps models, if it is on this machine and that is known."""
        self.client, self.version, self._models = client, version, models

    @property
    def where(self) -> str:
        """The address."""
        return str(self.client.address)

    def names(self) -> list[ModelName]:
        """The models that there are."""
        return known_names(self.client.models())

    def check_room(self, size: int, *, rewritten: bool) -> None:
        """OutputError if the server's disk, where that is known, has no room for blobs and what it makes of them."""
        if self._models is None:
            return
        needed, free = size * (2 if rewritten else 1), shutil.disk_usage(self._models).free
        if needed > free:
            found = f"the server needs {needed:,} bytes for blobs and its own copies, {free:,} are free"
            raise OutputError(self._models, found, "free space, or let deepgguf write into the store")

    def publish(self, request: Request, files: Sequence[Source], progress: Progress, say: Say) -> None:
        """Has the server make the model of whole files; blobs that it has are not sent again."""
        for file in files:
            if self.client.has_blob(file.sha256):
                progress(file.path.stat().st_size)
            else:
                self.client.upload(file.path, file.sha256, progress)
        for status in self.client.create(_create_request(request, files)):
            say(f"Ollama: {status}")


def _create_request(request: Request, files: Sequence[Source]) -> dict[str, object]:
    modelfile = request.modelfile
    fields = msgspec.structs.asdict(modelfile)
    texts = {name: fields[name] for name in ("template", "system", "renderer", "parser", "requires") if fields[name]}
    also: dict[str, object] = {
        "license": list(modelfile.licenses),
        "parameters": modelfile.parameters,
        "messages": api_messages(modelfile),
    }
    named = {file.name: f"sha256:{file.sha256}" for file in files}
    return {"model": str(request.name), "files": named, **texts, **{k: v for k, v in also.items() if v}}


def choose_way(way: Way | None, environment: Mapping[str, str], say: Say) -> StoreWay | ApiWay:
    """The way that is asked for; else into the store if it can be written to and is the server's, else by the API.

    OutputError if there is neither.
    """
    client = Client(server_address(environment.get("OLLAMA_HOST", "")))
    version, silent = _version(client)
    folders = store_folders(environment)
    reasons: list[str] = []
    if way == "store" or (way is None and client.address.is_local):
        listed = client.models() if version is not None and client.address.is_local else None
        for store in map(Store, folders):
            why_not = store.unusable() or (store.differs_from(listed) if listed is not None else None)
            if why_not is None:
                say(f"into Ollama's store {store.root}")
                return StoreWay(store, client, version or "") if listed is not None else StoreWay(store, None)
            reasons.append(f"{store.root}: {why_not}")
    if way == "store":
        raise OutputError("Ollama's store", "; ".join(reasons), f"{_SAME_STORE}, or use its API")
    if version is None:
        found = "; ".join([f"no server at {client.address} ({silent})", *reasons])
        raise OutputError("Ollama", found, "start it (`ollama serve`), or set OLLAMA_HOST or OLLAMA_MODELS")
    say(f"to the Ollama server at {client.address}" + (f" ({reasons[0]})" if reasons else ""))
    known = next((folder for folder in folders if folder.is_dir()), None) if client.address.is_local else None
    return ApiWay(client, version, known)


def _version(client: Client) -> tuple[str | None, str]:
    """The server's version; or None, and why there is none."""
    try:
        return client.version(), ""
    except OutputError as error:
        return None, error.found


def check_before(
    way: StoreWay | ApiWay, name: ModelName, files: Sequence[Mapping[str, Value]], *, overwrite: bool
) -> None:
    """UsageError if the engine does not know the model, or the name is a model's that may not be replaced.

    `files` are the keys of the model and, if there is one, of its mmproj.
    """
    architecture = files[0].get("general.architecture")
    projector = next((found for keys in files if (found := projector_of(keys))), "")
    if way.version:
        refuse_old_engine(way.version, str(architecture.value) if architecture else "", projector)
    if not overwrite and name.is_among(way.names()):
        raise _taken(name)


def _taken(name: ModelName) -> UsageError:
    return UsageError(f"the model {name}", "exists in Ollama", "replace it with `overwrite=True`, or give another name")
