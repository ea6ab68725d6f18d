"""The keys that belong to one file, and what may stand under them."""

from typing import NamedTuple

from deepgguf.errors import UsageError
from deepgguf.formats.manifest import plan_of_manifest
from deepgguf.run.address import S3Address
from deepgguf.run.file_job import FileJob
from deepgguf.run.s3.bucket import Bucket, Object

LONGEST_MANIFEST = 256 << 20
"""Bytes; what is longer is none, and is not read."""
MARK = "deepgguf-run"
"""Metadata of the object: whose upload it was. An upload keeps what it was begun with, so this tells ours for sure."""


class Names(NamedTuple):
    """Of one file."""

    address: S3Address

    @property
    def final(self) -> str:
        """The object, once it is whole."""
        return self.address.key

    @property
    def journal(self) -> str:
        """What is uploaded of it."""
        return f"{self.address.key}.part.journal"

    @property
    def manifest(self) -> str:
        """The hashes."""
        return f"{self.address.key}.json"


def refuse_existing(bucket: Bucket, job: FileJob, *, overwrite: bool) -> None:
    """UsageError if the final name is taken, or the manifest's by something else than this plan's."""
    assert isinstance(job.final, S3Address)
    names = Names(job.final)
    there = bucket.sizes(names.final)
    if names.final in there and not overwrite:
        raise UsageError(job.final, "exists", "replace it with `overwrite=True`, or give another `output`")
    if names.manifest not in there:
        return
    found = bucket.get(names.manifest) if there[names.manifest] <= LONGEST_MANIFEST else Object(b"", "")
    plan = plan_of_manifest(found.content) if found else job.header.plan
    where = job.final.with_name(f"{job.final.name}.json")
    if plan is None:
        raise UsageError(where, "is not a manifest of deepgguf", "move it away, or give another `output`")
    if plan != job.header.plan and not overwrite:
        raise UsageError(where, "exists", "replace it with `overwrite=True`, or give another `output`")
