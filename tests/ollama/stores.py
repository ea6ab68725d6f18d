"""What a folder of models holds, for comparisons."""

import hashlib
import json
import stat
from pathlib import Path
from typing import Any


def files_of(root: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def manifest_of(root: Path, name: str, tag: str = "latest") -> dict[str, Any]:
    """The manifest of a model of the library."""
    return json.loads((root / "manifests/registry.ollama.ai/library" / name / tag).read_bytes())


def model_digest(root: Path, name: str) -> str:
    """The SHA-256 of the model's own blob."""
    layers = manifest_of(root, name)["layers"]
    (digest,) = [layer["digest"] for layer in layers if layer["mediaType"].endswith("image.model")]
    return digest.removeprefix("sha256:")


def check_whole(root: Path) -> None:
    """Every blob is what its name says, with the server's mode; every manifest's blobs are there; nothing else is."""
    for path in (root / "blobs").iterdir():
        assert path.name == f"sha256-{hashlib.sha256(path.read_bytes()).hexdigest()}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    for path in (root / "manifests").glob("*/*/*/*"):
        found = json.loads(path.read_bytes())
        for layer in (found["config"], *found["layers"]):
            blob = root / "blobs" / layer["digest"].replace(":", "-")
            assert blob.stat().st_size == layer["size"]
    assert {path.partition("/")[0] for path in files_of(root)} <= {"blobs", "manifests"}
