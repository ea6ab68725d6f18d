"""Object stores: s3://BUCKET/PREFIX/, gs://BUCKET/PREFIX/, az://CONTAINER/PREFIX/, read by obstore.

Credentials, regions and endpoints are those of each cloud's own tools: environment, configuration files, the machine's
role. A bucket that is read without credentials is a public one.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from deepgguf.errors import ChangedError, CheckpointError, OutputError, UsageError
from deepgguf.files.cloud_address import parse_cloud_address
from deepgguf.files.files import FileFacts, changed, gone
from deepgguf.files.network.network_files import Filling, NetworkFiles
from deepgguf.files.network.patience import PATIENCE
from deepgguf.files.network.trouble import NOT_NOW, Tries, Trouble

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore, RetryConfig, S3Credential

_ONCE: "RetryConfig" = {"max_retries": 0}  # what is asked again, and when, is said by `Insistence`, and counted
_LONGEST = timedelta(hours=1)  # of a request that goes on; obstore's 30 seconds are too few for a window on a slow line
_CHUNK = 1 << 20  # bytes; what is held of an answer besides the reader's buffer
_CREDENTIALS_LAST = timedelta(minutes=10)  # botocore renews those that expire; it is asked again so often
_STATUS = re.compile(r"status code: (\d{3})")
_T = TypeVar("_T")


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
    """Timeouts; http without TLS only where the user names such an endpoint.

    UsageError for one that is no address, at which obstore would end the process.
    """
    named = {name: value for name, value in os.environ.items() if name.upper().startswith(endpoints)}
    for name, value in named.items():
        if not re.match(r"https?://[^/\s]", value):
            raise UsageError(name, f"{value} is not an address", "set it to one such as https://host:port, or unset it")
    plain = any(value.startswith("http://") for value in named.values())
    stall = timedelta(seconds=PATIENCE.stall)
    options = {"timeout": _LONGEST, "read_timeout": stall, "connect_timeout": stall, "allow_http": plain}
    return {"client_options": options, "retry_config": _ONCE}


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


def open_folder(address: str) -> "CloudFiles":
    """The files of a checkpoint below an address. UsageError for none, or without the packages that it takes."""
    return CloudFiles(address)


def open_file(address: str) -> tuple["CloudFiles", str]:
    """The folder of an object, and the object's name in it; errors as for `open_folder`."""
    folder, _, name = address.rpartition("/")
    return CloudFiles(folder), name


class CloudFiles(NetworkFiles):
    """The objects directly below an address; a version is an entity tag, which every request for bytes names too."""

    def __init__(self, address: str) -> None:
        """Connects to nothing yet. UsageError if it is no address, or without the packages that it takes."""
        self._scheme, self._bucket, self._prefix = parse_cloud_address(address)
        require_extra(address)
        super().__init__(PATIENCE)

    def __reduce__(self) -> tuple[type["CloudFiles"], tuple[str], str | None]:
        """Sent elsewhere, it looks for credentials there."""
        return type(self), (self.place,), self._cache

    def _start(self) -> None:
        """Nothing open, nothing known."""
        self._opened: ObjectStore | None = None
        super()._start()

    def _kept_as(self) -> tuple[str, str]:
        return "--".join(("models", self._scheme, self._bucket, *self._prefix.split("/"))), "cloud"

    def __eq__(self, other: object) -> bool:
        """Whether both have the same address; a plan is a value, its source too."""
        return isinstance(other, CloudFiles) and self.place == other.place

    def __hash__(self) -> int:
        """That of the address."""
        return hash(self.place)

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

        key = self._key(name)
        return self._until_done(name, lambda _: _facts(name, obstore.head(self._store(), key)))

    def _fill(self, file: FileFacts, filling: Filling) -> None:
        """See `NetworkFiles._fill`."""
        try:
            self._until_done(file.name, lambda tries: self._filled(file, filling, tries))
        except CheckpointError as error:
            raise error if isinstance(error, ChangedError) else gone(error) from None

    def _filled(self, file: FileFacts, filling: Filling, tries: Tries) -> None:
        """What is missing, by one request for the version that `file` says. ChangedError for bytes of another."""
        import obstore
        from obstore.exceptions import PreconditionError

        first, last = filling.span
        options: GetOptions = {"range": (first, last + 1)}
        if file.version.startswith('"'):
            options["if_match"] = file.version
        try:
            result = obstore.get(self._store(), self._key(file.name), options=options)
        except PreconditionError:
            raise changed(file) from None
        if _facts(file.name, result.meta) != file or result.range != (first, last + 1):
            raise changed(file)
        for chunk in result.stream(min_chunk_size=_CHUNK):
            rest = filling.rest(len(chunk))
            if len(rest) < len(chunk):
                raise Trouble("body too long")
            rest[:] = chunk
            filling.done += len(chunk)
            self._meter.came(len(chunk))
            tries.got_on()
        if filling.rest(1):
            raise Trouble("body too short")

    def _until_done(self, name: str, ask: Callable[[Tries], _T]) -> _T:
        """The result of `ask`; exceptions of obstore's are ours, or have it asked again."""

        def once(tries: Tries) -> _T:
            try:
                result = ask(tries)
            except _errors() as error:
                raise self._failed(name, error) from None
            self._meter.answer()
            return result

        return self._insistence.until_done(name, once)

    def _store(self) -> "ObjectStore":
        """UsageError if what it takes to connect (account, profile, endpoint) makes no sense."""
        cloud = _CLOUDS[self._scheme]
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = cloud.open(self._bucket)
                except _errors() as error:
                    found = f"cannot be connected to: {_shown(error)}"
                    raise UsageError(self.place, found, f"look at the credentials: {cloud.credentials}") from None
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

        listed = self._until_done(self.place, lambda _: obstore.list_with_delimiter(self._store(), prefix or None))
        found = listed["objects"]
        below = f"{prefix}/" if prefix else ""  # a folder's own mark is an object too
        return sorted(meta["path"].removeprefix(below) for meta in found if meta["path"].startswith(below))

    def _absent(self, name: str) -> CheckpointError:
        return CheckpointError(name, f"no such object in {self.place}", "upload it, or give another address")

    def _failed(self, name: str, error: Exception) -> Exception:
        """What an exception of obstore's means for the file; `Trouble` if the next request may go well."""
        from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError

        text = _shown(error)
        if any(code in str(error) for code in ("NoSuchBucket", "ContainerNotFound")):
            return UsageError(self.place, f"there is no bucket {self._bucket}", "give another address")
        if isinstance(error, FileNotFoundError):
            return self._absent(name)
        credentials = f"look at the credentials: {_CLOUDS[self._scheme].credentials}"
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            return OutputError(name, f"{self.place} may not be read: {text}", credentials)
        status = _STATUS.search(text)
        if status and int(status[1]) in NOT_NOW:
            return Trouble(f"status {status[1]}")
        if not status and isinstance(error, GenericError | OSError):
            return Trouble(text)
        return OutputError(name, f"cannot be read: {text}", f"check endpoint and region, and {credentials}")


def _facts(name: str, meta: "ObjectMeta") -> FileFacts:
    return FileFacts(name, meta["size"], meta["e_tag"] or meta["last_modified"].isoformat())


def _errors() -> tuple[type[Exception], ...]:
    """What obstore raises: its own exceptions, and some of Python's; and botocore's, for credentials."""
    from botocore.exceptions import BotoCoreError
    from obstore.exceptions import BaseError

    return BaseError, BotoCoreError, OSError, ValueError


def _shown(error: Exception) -> str:
    """The first line of obstore's message without XML, and without what follows an address: that may be a signature."""
    return re.sub(r"\?\S+", "", re.split(r"\n|:? *<", str(error), maxsplit=1)[0])
