"""The files of a split set against each other: whether they came of one conversion."""

from collections.abc import Iterator, Sequence

from deepgguf.errors import printable
from deepgguf.verification.file_bytes import CheckedFile
from deepgguf.verification.report import Difference
from deepgguf.verification.stored_hashes import StoredHashes


def set_differences(files: Sequence[CheckedFile]) -> Iterator[Difference]:
    """Keys of the model outside of the first file, and manifests that speak of other sources, targets or types."""
    for file in files[1:]:
        for name in file.header.keys:
            if not name.startswith("split."):
                text = f"is in {printable(file.header.path)}, and the model's keys belong into the first file"
                yield Difference(f"key {printable(name)}", text)
    told = [(file.header.path, _origin(file.stored)) for file in files if file.stored]
    for path, origin in told[1:]:
        for what, found in origin.items():
            expected = told[0][1][what]
            if found != expected:
                text = f"another {what} than {printable(told[0][0])} was made of, by their manifests"
                yield Difference(f"file {printable(path)}", text, printable(expected), printable(found))
                break


def _origin(stored: StoredHashes) -> dict[str, str]:
    sources = ", ".join(f"{file.name} of {file.size:,} bytes" for file in stored.sources)
    return {"checkpoint": stored.source, "list of shards": sources, "target": stored.target, "type": stored.type}
