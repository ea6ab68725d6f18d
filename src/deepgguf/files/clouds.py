"""Object stores: s3://BUCKET/PREFIX/, gs://BUCKET/PREFIX/, az://CONTAINER/PREFIX/, read by obstore.

Credentials, regions and endpoints are those of each cloud's own tools: environment, configuration files, the machine's
role. A bucket that is read without credentials is a public one.
"""

import os
import random
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepgguf.errors import CheckpointError, DeepggufError, OutputError, UsageError
from deepgguf.files.files import Buffer, FileFacts, Files, changed, flat, gone

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore, RetryConfig, S3Credential

ATTEMPTS = 5
"""How often a range that broke off, or that no server answers, is asked for; obstore's own retries come on top."""
_FIRST_PAUSE = 0.5  # seconds; doubled every time, and spread, so that many readers do not come back at once
_RETRIES: "RetryConfig" = {
    "max_retries": 6,
    "retry_timeout": timedelta(minutes=2),
    "backoff": {"init_backoff": timedelta(milliseconds=250), "max_backoff": timedelta(seconds=15), "base": 2},
}
_SILENCE = timedelta(seconds=30)  # without a byte: a stall, and the request is made anew
_LONGEST = timedelta(hours=1)  # of a request that goes on; obstore's 30 seconds are too few for a window on a slow line
_CHUNK = 1 << 20  # bytes; what is held of an answer besides the reader's buffer
_HEAD = 1 << 18  # bytes: the header of a shard of DeepSeek-V3 has about a third of that
_HEADS = 32
_CREDENTIALS_LAST = timedelta(minutes=10)  # botocore renews those that expire; it is asked again so often
_RESUME = "run again with `resume=True`"


def require_extra(address: str) -> None:
    """UsageError without the packages that an address of an object store takes."""
    missing = [name for name in ("obstore", "botocore") if find_spec(name) is None]
    if missing:
        raise UsageError(address, f"needs {' and '.join(missing)}", "`pip install 'deepgguf[cloud]'` installs that")


def _s3(bucket: str) -> "ObjectStore":
    """By botocore's credentials: those of the environment, profiles, SSO, containers and machines."""
    from botocore.session import get_session
    from obstore.store import S3Store

    session = get_session()
    found, region = session.get_credentials(), session.get_config_variable("region")

    def credentials() -> "S3Credential":
        frozen, until = found.get_frozen_credentials(), datetime.now(UTC) + _CREDENTIALS_LAST
        secret = {"access_key_id": frozen.access_key, "secret_access_key": frozen.secret_key, "token": frozen.token}
        return {**secret, "expires_at": until}  # type: ignore[typeddict-item]  # botocore has no types

    how: dict[str, Any] = {"credential_provider": credentials} if found else {"skip_signature": True}
    return S3Store(bucket, **how, **({"region": region} if region else {}), **_client("AWS_ENDPOINT_URL"))


def _gs(bucket: str) -> "ObjectStore":
    from obstore.store import GCSStore

    return GCSStore(bucket, **_client("GOOGLE_BASE_URL"))


def _az(container: str) -> "ObjectStore":
    from obstore.store import AzureStore

    return AzureStore(container, **_client("AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT"))


def _client(*endpoints: str) -> dict[str, Any]:
    """Timeouts and retries; http without TLS only where the user names such an endpoint."""
    plain = any(value.startswith("http://") for name, value in os.environ.items() if name.upper().startswith(endpoints))
    options = {"timeout": _LONGEST, "read_timeout": _SILENCE, "allow_http": plain}
    return {"client_options": options, "retry_config": _RETRIES}


class _Cloud(NamedTuple):
    """How a bucket is opened, how its owner sees what is in it, and where his credentials are looked for."""

    open: Callable[[str], "ObjectStore"]
    listing: str
    credentials: str


_CLOUDS: Mapping[str, _Cloud] = {
    "s3": _Cloud(_s3, "aws s3 ls", "AWS_ACCESS_KEY_ID or AWS_PROFILE; `aws sts get-caller-identity` shows whose"),
    "gs": _Cloud(
        _gs, "gcloud storage ls", "GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`"
    ),
    "az": _Cloud(
        _az,
        "az storage blob list -c",
        "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or another credential",
    ),
}
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z0-9]+)://(?P<bucket>[^/]+)(/(?P<prefix>.*?))?/*")


def open_folder(address: str) -> "CloudFiles":
    """The files of a checkpoint below an address. UsageError for none, or without the packages that it takes."""
    return CloudFiles(address)


def open_file(address: str) -> tuple["CloudFiles", str]:
    """The folder of an object, and the object's name in it; errors as for `open_folder`."""
    folder, _, name = address.rpartition("/")
    return CloudFiles(folder), name


class CloudFiles(Files):
    """The objects directly below an address; a version is an entity tag, which every request for bytes names too."""

    whole_windows = True

    def __init__(self, address: str) -> None:
        """Connects to nothing yet. UsageError if it is no address, or without the packages that it takes."""
        parts = _ADDRESS.fullmatch(address)
        if parts is None or parts["scheme"].lower() not in _CLOUDS:
            raise UsageError(address, "names no bucket", "give s3://BUCKET/PREFIX/, gs://… or az://CONTAINER/PREFIX/")
        self.__setstate__((parts["scheme"].lower(), parts["bucket"], parts["prefix"] or ""))
        require_extra(address)

    def __getstate__(self) -> tuple[str, str, str]:
        """What is pickled: the address. Credentials are looked for where it is read."""
        return self._scheme, self._bucket, self._prefix

    def __setstate__(self, state: tuple[str, str, str]) -> None:
        """Starts with no connection."""
        self._scheme, self._bucket, self._prefix = state
        self._lock = threading.Lock()  # guards what follows
        self._opened: ObjectStore | None = None
        self._heads: OrderedDict[FileFacts, bytes] = OrderedDict()  # the first bytes of the files read last

    def __eq__(self, other: object) -> bool:
        """Whether both have the same address; a plan is a value, its source too."""
        return isinstance(other, CloudFiles) and self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        """That of the address."""
        return hash(self.__getstate__())

    @property
    def place(self) -> str:
        """The address, without a slash at its end."""
        return f"{self._scheme}://{self._key_below(self._bucket, self._prefix)}"

    @property
    def checkpoint_name(self) -> str:
        """The last part of the address."""
        name = (self._prefix or self._bucket).rpartition("/")[2]
        return "".join(c if c.isprintable() else "_" for c in name)

    def names(self) -> Sequence[str]:
        """The names of the objects below the address, sorted. UsageError if there are none."""
        found = self._listed(self._prefix)
        if not found:
            listing = f"`{_CLOUDS[self._scheme].listing} {self.place}/` shows what is there"
            raise UsageError(self.place, "no object lies below this address", f"see whether it is right: {listing}")
        return found

    def names_in(self, folder: str) -> Sequence[str]:
        """The names of the objects in that folder, sorted."""
        return [f"{folder}/{name}" for name in self._listed(self._key(folder))]

    def facts(self, name: str) -> FileFacts:
        """Size and entity tag."""
        import obstore

        try:
            return _facts(name, obstore.head(self._store(), self._key(name)))
        except _errors() as error:
            raise self._failed(name, error) from None

    def readinto(self, file: FileFacts, offset: int, buffer: Buffer) -> None:
        """Reads a range of the version that `file` says; one that breaks off is resumed where it did."""
        view = flat(buffer)
        if offset + len(view) > file.size:
            raise changed(file)
        if offset + len(view) <= _HEAD and len(view) < _HEAD and self._has_header(file):
            view[:] = self._head(file)[offset : offset + len(view)]
        else:
            self._read_range(file, offset, view)

    def close(self) -> None:
        """Forgets connections and first bytes."""
        with self._lock:
            self._opened = None
            self._heads.clear()

    def _has_header(self, file: FileFacts) -> bool:
        """Whether the file begins with what a plan reads in two steps: its header's length, and the header."""
        return file.name.endswith((".safetensors", ".gguf"))

    def _head(self, file: FileFacts) -> bytes:
        """The first bytes, in one request for all that a header is read by."""
        with self._lock:
            held = self._heads.get(file)
        if held is None:
            held = bytes(min(file.size, _HEAD))
            first = np.empty(len(held), np.uint8)
            self._read_range(file, 0, flat(first))
            held = first.tobytes()
            with self._lock:
                self._heads[file] = held
                while len(self._heads) > _HEADS:
                    self._heads.popitem(last=False)
        return held

    def _read_range(self, file: FileFacts, offset: int, view: memoryview) -> None:
        """As `readinto`. OutputError when `ATTEMPTS` requests in a row have brought nothing."""
        done, failed = 0, 0
        while done < len(view):
            try:
                for chunk in self._stream(file, offset + done, offset + len(view)):
                    if len(chunk) > len(view) - done:
                        raise changed(file)  # more than was asked for: the server does not know ranges
                    view[done : done + len(chunk)] = chunk
                    done, failed = done + len(chunk), 0
                if done < len(view):
                    raise ConnectionError("the answer is shorter than it says")
            except _errors() as error:
                failed += 1
                reason = self._failed(file.name, error)
                if isinstance(reason, CheckpointError):
                    raise gone(reason) from None
                if not _may_pass(error) or failed >= ATTEMPTS:
                    raise reason from None
                time.sleep(_FIRST_PAUSE * 2 ** (failed - 1) * random.uniform(0.5, 1.5))

    def _stream(self, file: FileFacts, start: int, stop: int) -> Any:
        """The bytes of that range of the version that `file` says, in chunks; ChangedError for those of another."""
        import obstore
        from obstore.exceptions import PreconditionError

        options: GetOptions = {"range": (start, stop)}
        if file.version.startswith('"'):
            options["if_match"] = file.version
        try:
            result = obstore.get(self._store(), self._key(file.name), options=options)
        except PreconditionError:
            raise changed(file) from None
        if _facts(file.name, result.meta) != file or result.range != (start, stop):
            raise changed(file)
        return result.stream(min_chunk_size=_CHUNK)

    def _store(self) -> "ObjectStore":
        with self._lock:
            if self._opened is None:
                self._opened = _CLOUDS[self._scheme].open(self._bucket)
            return self._opened

    def _key(self, name: str) -> str:
        """The key of a file. CheckpointError for a name that leads elsewhere."""
        if not name or name != name.strip("/") or ".." in name.split("/"):
            raise self._absent(name)
        return self._key_below(self._prefix, name)

    @staticmethod
    def _key_below(prefix: str, name: str) -> str:
        return "/".join(part for part in (prefix, name) if part)

    def _listed(self, prefix: str) -> list[str]:
        import obstore

        try:
            found = obstore.list_with_delimiter(self._store(), prefix or None)["objects"]
        except _errors() as error:
            raise self._failed(self.place, error) from None
        below = f"{prefix}/" if prefix else ""  # a folder's own mark is an object too
        return sorted(meta["path"].removeprefix(below) for meta in found if meta["path"].startswith(below))

    def _absent(self, name: str) -> CheckpointError:
        return CheckpointError(name, f"no such object in {self.place}", "upload it, or give another address")

    def _failed(self, name: str, error: Exception) -> DeepggufError:
        """What an exception of obstore's means for the file."""
        from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

        text = _shown(error)
        if any(code in str(error) for code in ("NoSuchBucket", "ContainerNotFound")):
            return UsageError(self.place, f"there is no bucket {self._bucket}", "give another address")
        if isinstance(error, FileNotFoundError):
            return self._absent(name)
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            credentials = _CLOUDS[self._scheme].credentials
            return OutputError(name, f"{self.place} may not be read: {text}", f"look at the credentials: {credentials}")
        return OutputError(name, f"cannot be read: {text}", f"check network and endpoint, then {_RESUME}")


def _facts(name: str, meta: "ObjectMeta") -> FileFacts:
    return FileFacts(name, meta["size"], meta["e_tag"] or meta["last_modified"].isoformat())


def _errors() -> tuple[type[Exception], ...]:
    """What obstore raises: its own exceptions, and three of Python's."""
    from obstore.exceptions import BaseError

    return BaseError, OSError, ValueError


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    from obstore.exceptions import GenericError

    return isinstance(error, GenericError | ConnectionError)


def _shown(error: Exception) -> str:
    """The first line of obstore's message without XML, and without what follows an address: that may be a signature."""
    return re.sub(r"\?\S+", "", re.split(r"\n|:? *<", str(error), maxsplit=1)[0])
