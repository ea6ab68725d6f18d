"""Where a file is written: a path, or the address of an object in S3."""

import re
from pathlib import Path

import msgspec

from deepgguf.errors import UsageError
from deepgguf.files.cloud_address import parse_cloud_address

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):.*", re.DOTALL)
_INSTEAD = {
    "gs": "Google's store speaks S3 too: with its HMAC keys, AWS_ENDPOINT_URL=https://storage.googleapis.com and s3://…",
    "az": "write to a folder, then `azcopy copy`",
}


class S3Address(msgspec.Struct, frozen=True):
    """An object, or all whose keys begin with `key` and a slash; "" is the whole bucket."""

    bucket: str
    key: str

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> "S3Address":
        """What it lies below."""
        return S3Address(self.bucket, self.key.rpartition("/")[0])

    def with_name(self, name: str) -> "S3Address":
        """Another object beside it."""
        return self.parent / name

    def __truediv__(self, name: str) -> "S3Address":
        """What lies below it."""
        return S3Address(self.bucket, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        """As users write it."""
        return f"s3://{self.bucket}/{self.key}".rstrip("/")


Place = Path | S3Address


def parse_output(output: str) -> S3Address | None:
    """The address that an output names, without a slash at its end; None for a path.

    UsageError for an address of which deepgguf reads only, and for one without a bucket.
    """
    found = _SCHEME.fullmatch(output)
    if found is None or ("://" not in output and found[1].lower() != "hf"):
        return None
    if found[1].lower() != "s3":
        advice = _INSTEAD.get(found[1].lower(), "write to a folder, and upload what is there")
        raise UsageError(output, "deepgguf writes to folders and to s3://BUCKET/PREFIX/", advice)
    _, bucket, key = parse_cloud_address(output)
    return S3Address(bucket, key)
