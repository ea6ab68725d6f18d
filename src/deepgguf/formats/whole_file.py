"""Small files, read whole, up to a size that their readers can bear."""

from deepgguf.errors import CheckpointError
from deepgguf.files.files import Files


def read_whole(files: Files, name: str, cap: int) -> bytes:
    """The bytes of a file; CheckpointError if it has more than `cap` or may not be read, OutputError if that fails."""
    file = files.facts(name)
    if file.size > cap:
        raise CheckpointError(name, f"{file.size:,} bytes, more than the {cap:,} that are allowed")
    return files.read(file, 0, file.size).tobytes()


def read_text(files: Files, name: str, cap: int) -> str:
    """The text of a file in UTF-8; errors as for `read_whole`."""
    try:
        return read_whole(files, name, cap).decode()
    except UnicodeDecodeError as e:
        raise CheckpointError(name, f"not UTF-8 at byte {e.start}", "use the model's own file") from None
