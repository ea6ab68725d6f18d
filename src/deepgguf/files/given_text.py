"""A small text file that the user names."""

from pathlib import Path

from deepgguf.choices import StrPath
from deepgguf.errors import UsageError

_MOST = 1 << 20  # bytes; a line for each of DeepSeek-V3's tensors takes a tenth


def read_given_text(path: StrPath) -> str:
    """The text of the file; UsageError if there is none, it is no UTF-8, or longer than 1 MiB."""
    file = Path(path)
    try:
        if not file.is_file():
            raise UsageError(file, "is not a file" if file.exists() else "no such file", "give the path of a text file")
        with file.open("rb") as opened:
            data = opened.read(_MOST + 1)
    except OSError as error:
        raise UsageError(file, f"cannot be read: {error.strerror}", "check its permissions") from None
    if len(data) > _MOST:
        raise UsageError(file, f"has more than {_MOST:,} bytes", "give the path of a text file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(file, f"is not UTF-8: byte {error.start}", "save it as UTF-8") from None
