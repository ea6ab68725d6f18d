"""Every request that writes to S3, in one small interface: objects, and uploads by their parts.

By botocore, which shows uploads and parts as they are: obstore hides them, s3transfer forgets them with the process.
"""

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from deepgguf.errors import DeepggufError, OutputError, UsageError
from deepgguf.files.network.clouds import require_extra
from deepgguf.run.address import S3Address

CONNECTIONS = 8
_ATTEMPTS = 8  # of one request, with pauses that double and are spread; AWS_MAX_ATTEMPTS overrides it
_SILENCE = 60  # seconds without a byte: a stall, and the request is made anew
_RESUME = "what is uploaded stays; run again with `resume=True`"
_DENIED = ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
_NO_UPLOAD, _TAKEN = "NoSuchUpload", "PreconditionFailed"
_NO_CONDITIONS = ("NotImplemented", "501")  # servers that are older than conditional writes


class Object(NamedTuple):
    """The content of an object, and the entity tag by which another is told from it."""

    content: bytes
    tag: str


class Part(NamedTuple):
    """A part as the server has it."""

    tag: str
    nbytes: int


class Bucket:
    """A bucket, for any thread. Errors become an OutputError that names the object and says what to do next."""

    def __init__(self, name: str) -> None:
        """Connects to nothing yet; UsageError without packages, or if profile, region or endpoint make no sense."""
        require_extra(f"s3://{name}")
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import get_session

        attempts = {} if "AWS_MAX_ATTEMPTS" in os.environ else {"total_max_attempts": _ATTEMPTS}
        config = Config(
            retries={"mode": "standard", **attempts},
            max_pool_connections=CONNECTIONS + 2,
            read_timeout=_SILENCE,
            # Its newer checksums are refused by many servers that speak S3; every part has its MD5 instead.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            self._name, self._client = name, get_session().create_client("s3", config=config)
        except (BotoCoreError, ValueError) as error:
            advice = "look at AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL and ~/.aws/config"
            raise UsageError(f"s3://{name}", f"cannot be connected to: {error}", advice) from None

    def sizes(self, prefix: str) -> dict[str, int]:
        """The objects whose keys begin so, and their bytes. UsageError if there is no such bucket."""
        found: dict[str, int] = {}
        more: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", prefix, "looking for it", {"Prefix": prefix, **more})
            found |= {item["Key"]: item["Size"] for item in page.get("Contents", [])}
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def metadata(self, key: str) -> tuple[int, Mapping[str, str]] | None:
        """Size and metadata of an object; None if there is none."""
        found = self._call("head_object", key, "looking for it", {"Key": key}, absent=("404", "NoSuchKey"))
        return (found["ContentLength"], found["Metadata"]) if found else None

    def get(self, key: str) -> Object | None:
        """A small object; None if there is none."""
        found = self._call("get_object", key, "reading it", {"Key": key}, absent=("404", "NoSuchKey"))
        if not found:
            return None
        with self._failing(key, "reading it"):
            return Object(found["Body"].read(), found["ETag"])

    def put(self, key: str, content: bytes, *, instead_of: str | None = None) -> str:
        """Writes a small object, and returns its tag.

        `instead_of` is the tag that the object must have now, "" that there must be none: OutputError if another run
        has been there since. Servers without conditions are not asked for them.
        """
        arguments: dict[str, object] = {"Key": key, "Body": content, "ContentMD5": _md5(content)}
        if instead_of is not None:
            condition = {"IfMatch": instead_of} if instead_of else {"IfNoneMatch": "*"}
            absent = (*_NO_CONDITIONS, _TAKEN)
            done = self._call("put_object", key, "writing it", arguments | condition, absent=absent)
            found = None if done else self.get(key)
            if found and found.content == content:  # only the answer was lost, and botocore has asked again
                return found.tag
            if found and found.tag != instead_of:
                raise OutputError(
                    S3Address(self._name, key),
                    "another run has taken over what this one wrote",
                    "see who else writes there, and give an `output` of your own",
                )
            if done:
                return str(done["ETag"])
        return str(self._call("put_object", key, "writing it", arguments)["ETag"])

    def remove(self, *keys: str) -> None:
        """Removes objects, in one request; those that are not there too."""
        objects = {"Objects": [{"Key": key} for key in keys]}
        failed = self._call("delete_objects", keys[0], "removing it", {"Delete": objects})
        for error in failed.get("Errors", []):
            raise OutputError(S3Address(self._name, error["Key"]), f"removing it failed: {error['Code']}", _RESUME)

    def start(self, key: str, metadata: Mapping[str, str]) -> str:
        """Begins an upload; the object will have this metadata."""
        arguments = {"Key": key, "Metadata": metadata}
        return str(self._call("create_multipart_upload", key, "beginning an upload", arguments)["UploadId"])

    def uploads(self, key: str) -> list[str]:
        """The unfinished uploads of this very key."""
        found = self._call("list_multipart_uploads", key, "looking for uploads", {"Prefix": key})
        return [upload["UploadId"] for upload in found.get("Uploads", []) if upload["Key"] == key]

    def put_part(self, key: str, upload: str, number: int, content: bytearray) -> str:
        """Uploads part `number`, checked by its MD5 on arrival; returns its tag."""
        which = {"Key": key, "UploadId": upload, "PartNumber": number}
        done = self._call("upload_part", key, f"part {number}", {**which, "Body": content, "ContentMD5": _md5(content)})
        return str(done["ETag"])

    def parts(self, key: str, upload: str) -> dict[int, Part] | None:
        """The parts that an upload has; None if there is no such upload any more."""
        found: dict[int, Part] = {}
        arguments = {"Key": key, "UploadId": upload}
        while True:
            page = self._call("list_parts", key, "listing its parts", arguments, absent=(_NO_UPLOAD,))
            if page is None:
                return None
            found |= {part["PartNumber"]: Part(part["ETag"], part["Size"]) for part in page.get("Parts", [])}
            if not page.get("IsTruncated"):
                return found
            arguments["PartNumberMarker"] = page["NextPartNumberMarker"]

    def complete(self, key: str, upload: str, tags: Mapping[int, str]) -> None:
        """Makes the parts an object; nothing if there is no such upload any more."""
        parts = {"Parts": [{"PartNumber": number, "ETag": tags[number]} for number in sorted(tags)]}
        arguments = {"Key": key, "UploadId": upload, "MultipartUpload": parts}
        self._call("complete_multipart_upload", key, "completing it", arguments, absent=(_NO_UPLOAD,))

    def abort(self, key: str, upload: str) -> None:
        """Removes an upload and its parts, if it is still there."""
        arguments = {"Key": key, "UploadId": upload}
        self._call("abort_multipart_upload", key, "removing an upload", arguments, absent=(_NO_UPLOAD,))

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _call(
        self, operation: str, key: str, doing: str, arguments: Mapping[str, object], absent: tuple[str, ...] = ()
    ) -> Any:
        """The answer; None for an error whose code is in `absent`."""
        from botocore.exceptions import ClientError

        with self._failing(key, doing):
            try:
                return getattr(self._client, operation)(Bucket=self._name, **arguments)
            except ClientError as error:
                if _code(error) in absent:
                    return None
                raise

    @contextmanager
    def _failing(self, key: str, doing: str) -> Iterator[None]:
        """Errors of botocore as ours."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            raise self._refused(key, doing, error) from None
        except BotoCoreError as error:
            raise OutputError(S3Address(self._name, key), f"{doing} failed: {error}", _advice(error)) from None

    def _refused(self, key: str, doing: str, error: Exception) -> DeepggufError:
        place, code = S3Address(self._name, key), _code(error)
        if code == "NoSuchBucket":
            return UsageError(place, f"there is no bucket {self._name}", "make it, or give another `output`")
        if code in _DENIED:
            advice = "look at the credentials (`aws sts get-caller-identity`) and at what they may do (docs/clouds.md)"
            return OutputError(place, f"{doing} is refused: {error}", advice)
        return OutputError(place, f"{doing} failed: {error}", _RESUME)


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _advice(error: Exception) -> str:
    from botocore.exceptions import NoCredentialsError

    if isinstance(error, NoCredentialsError):
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    return f"check network and endpoint; {_RESUME}"


def _md5(content: bytes | bytearray) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
