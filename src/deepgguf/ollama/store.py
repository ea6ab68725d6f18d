"""The folder in which Ollama keeps models (manifest/paths.go): blobs by their SHA-256, a manifest for every name.

They are `blobs/sha256-<64 hex>` and `manifests/<host>/<namespace>/<model>/<tag>`. What is on its way is under
`deepgguf/`, in a folder for each name: the server, which removes strange files, looks at the other two only.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepgguf.errors import OutputError
from deepgguf.ollama.layers import Layer
from deepgguf.ollama.name import ModelName, known_names
from deepgguf.run.disk import Disk

_SERVICE = Path("/usr/share/ollama/.ollama/models")  # of the user that the install script makes on Linux
_BLOB_MODE = 0o644


def store_folders(environment: Mapping[str, str], platform: str = sys.platform) -> list[Path]:
    """Where the models may be: OLLAMA_MODELS, or else the user's folder, then that of a service of the system."""
    if environment.get("OLLAMA_MODELS"):
        return [Path(environment["OLLAMA_MODELS"].strip().strip("\"'"))]
    own = Path(environment.get("HOME") or Path.home()) / ".ollama" / "models"
    return [own, _SERVICE] if platform == "linux" else [own]


class Store:
    """A folder of models. Every call that writes goes through `disk`."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root, self.disk = root, disk or Disk()

    @property
    def blobs(self) -> Path:
        """The folder of the blobs."""
        return self.root / "blobs"

    def staging(self, name: ModelName) -> Path:
        """The folder for what becomes of the model's files, on the blobs' file system."""
        return self.root.joinpath("deepgguf", *name.parts)

    def blob(self, sha256: str) -> Path:
        """Where the blob of this digest is, or would be."""
        return self.blobs / f"sha256-{sha256}"

    def manifest(self, name: ModelName) -> Path:
        """Where the model's manifest is, or would be."""
        return self.root.joinpath("manifests", *name.parts)

    def unusable(self) -> str | None:
        """Why nothing can be written here; None if it can."""
        if not self.root.is_dir():
            return "there is no such folder"
        folders = [self.root, *(f for f in (self.blobs, self.root / "manifests") if f.exists())]
        for folder in folders:
            if not os.access(folder, os.W_OK | os.X_OK):
                return f"{folder} may not be written to"
        if len({folder.stat().st_dev for folder in folders}) > 1:
            return "its folders are on several file systems"
        return None

    def differs_from(self, listed: Mapping[str, str]) -> str | None:
        """Why these cannot be the models of the server that lists `listed` (digests by name); None if they can."""
        own = {name: self.manifest(name) for name in self.names()}
        for text, digest in listed.items():
            paths = [self.manifest(name.spelled_as_in(own)) for name in known_names([text])]
            if not any(path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest for path in paths):
                return f"the server's {text} is not in it"
        return "the server shows none of the models in it" if own and not listed else None

    def names(self) -> list[ModelName]:
        """The models that have a manifest."""
        folder = self.root / "manifests"
        found = (path.relative_to(folder).parts for path in folder.glob("*/*/*/*") if path.is_file())
        return known_names(f"{host}/{namespace}/{model}:{tag}" for host, namespace, model, tag in found)

    def check_room(self, size: int, staging: Path) -> None:
        """OutputError if `size` bytes do not fit, what an interrupted run has in `staging` put aside."""
        free = shutil.disk_usage(self.root).free
        taken = sum(part.stat().st_blocks * 512 for part in staging.glob("*.gguf*"))
        if size > free + taken:
            found = f"{size:,} bytes are needed, {free:,} are free"
            raise OutputError(self.root, found, "free space, or have the models on another disk (OLLAMA_MODELS)")

    def add_file(self, path: Path, sha256: str) -> None:
        """Gives a whole, synced file the name of its blob, unless there is one of that name and size.

        An interrupted run may have done so already: then `path` is gone.
        """
        blob = self.blob(sha256)
        if blob.is_file() and (not path.exists() or blob.stat().st_size == path.stat().st_size):
            self.disk.remove(path)
        else:
            self._call("chmod", path, path.chmod, _BLOB_MODE)
            self._own(path)
            self.disk.rename(path, blob)
        self._call("utime", blob, os.utime, blob)  # the server removes what is old and in no manifest
        self.disk.sync_folder(self.blobs)

    def add_bytes(self, data: bytes, staging: Path) -> str:
        """Stores a small blob; its SHA-256."""
        digest = hashlib.sha256(data).hexdigest()
        self.add_file(self._written(staging / "blob", data), digest)
        return digest

    def write_manifest(self, name: ModelName, data: bytes, staging: Path) -> None:
        """Gives the model its manifest, in one step: with it the model is there."""
        path = self.manifest(name)
        self.make_folder(path.parent)
        written = self._written(staging / "manifest", data)
        self._call("chmod", written, written.chmod, _BLOB_MODE)
        self._own(written)
        self.disk.rename(written, path)
        self.disk.sync_folder(path.parent)

    def layers(self, name: ModelName) -> list[str]:
        """The digests of all that the model's manifest names; none if it has none, or it cannot be read."""
        found = _digests(self.manifest(name))
        return found or []

    def remove_unused(self, digests: Sequence[str]) -> None:
        """Removes those blobs that no manifest names; all stay where a manifest cannot be read."""
        others = [_digests(self.manifest(name)) for name in self.names()]
        if any(found is None for found in others):
            return
        used = {digest for found in others for digest in found or ()}
        for digest in sorted(set(digests) - used):
            self.disk.remove(self.blobs / digest.replace(":", "-"))

    def make_folder(self, folder: Path) -> None:
        """Makes the folder, and those above it within the store, readable for all and the store's owner's."""
        missing = [f for f in (folder, *folder.parents) if f.is_relative_to(self.root) and not f.exists()]
        for each in reversed(missing):
            self._call("mkdir", each, lambda each=each: each.mkdir(exist_ok=True))
            self._own(each)
            self.disk.sync_folder(each.parent)

    def clear(self, staging: Path) -> None:
        """Removes the staging folder, if nothing is left in it, and what is empty above it."""
        for folder in (staging, *staging.parents):
            if folder == self.root:
                return
            try:
                self._call("rmdir", folder, lambda folder=folder: folder.rmdir())
            except OutputError:
                return  # another model is on its way

    def _written(self, path: Path, data: bytes) -> Path:
        self.disk.remove(path)
        fd = self.disk.create(path)
        try:
            self.disk.write(fd, path, memoryview(data), 0)
            self.disk.sync(fd, path)
        finally:
            os.close(fd)
        return path

    def _own(self, path: Path) -> None:
        """What the superuser makes belongs to whom the store belongs to: the server is another user, and removes it."""
        facts = self.root.stat()
        if os.geteuid() == 0 and facts.st_uid != 0:
            self._call("chown", path, os.chown, path, facts.st_uid, facts.st_gid)

    def _call(self, name: str, path: Path, function: Callable[..., Any], *arguments: object) -> None:
        try:
            self.disk.call(name, function, *arguments)
        except OSError as error:
            advice = 'check the store\'s permissions, or use the server: `ollama_way="api"`'
            raise OutputError(path, f"{name} failed: {error.strerror}", advice) from None


def _digests(manifest: Path) -> list[str] | None:
    """The digests in a manifest; None if it cannot be read."""
    try:
        found = json.loads(manifest.read_bytes())
        return [layer["digest"] for layer in _parts(found)]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _parts(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield manifest["config"]
    yield from manifest["layers"] or ()


def layer_of(media_type: str, digest: str, data: bytes) -> Layer:
    """The layer of a small blob."""
    return Layer(media_type, f"sha256:{digest}", len(data))
