"""Addresses of object stores: SCHEME://BUCKET/KEY, as text that is taken apart and never sent anywhere."""

import re
from typing import NamedTuple

from deepgguf.errors import UsageError

# What the stores allow in a bucket's name, and a little more: https://docs.aws.amazon.com/AmazonS3/latest/userguide/
# bucketnamingrules.html. A key may have anything, but obstore reads none with an empty part, "." or "..".
_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z0-9]+)://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{0,254})(/+(?P<key>.*?))?/*", re.DOTALL
)


class CloudAddress(NamedTuple):
    """`key` has no slash at its ends; "" is the whole bucket."""

    scheme: str
    bucket: str
    key: str


def parse_cloud_address(address: str) -> CloudAddress:
    """The parts of an address; UsageError for what is none."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise UsageError(address, "names no bucket", "give s3://BUCKET/PREFIX/, gs://… or az://CONTAINER/PREFIX/")
    key = found["key"] or ""
    if key and (not key.isprintable() or any(part in ("", ".", "..") for part in key.split("/"))):
        found_there = "has a part that is empty, . or .., or characters that nobody sees"
        raise UsageError(address, found_there, "give the address as the store lists it")
    return CloudAddress(found["scheme"].lower(), found["bucket"], key)
