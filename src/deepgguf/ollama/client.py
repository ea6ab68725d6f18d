"""The server's API, as far as a model is put into it (server/routes.go), over the standard library's HTTP.

Not httpx: a server that has a blob answers before it has read it and closes, and the answer must still be read while
the body fails to be sent; and nothing else here would need it.
"""

import http.client
import json
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from deepgguf.errors import OutputError, printable
from deepgguf.executors.executor import Progress
from deepgguf.ollama.address import Address
from deepgguf.version import __version__

_R = TypeVar("_R")
_SECONDS = 30.0  # for answers that take the server no work
_UPLOAD_SECONDS = 600.0  # that one read or write of an upload may take
_RUN = 1 << 20  # bytes sent at a time
_LONGEST_ANSWER = 64 << 20


class _Model(msgspec.Struct, frozen=True):
    name: str
    digest: str


class _Models(msgspec.Struct, frozen=True):
    models: tuple[_Model, ...] | None = None


class Client:
    """One server. `call` is where tests step in, as at `Disk.call`."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def call(self, name: str, function: Callable[..., _R], *arguments: Any) -> _R:
        """One step of the conversation, by its name."""
        return function(*arguments)

    def version(self) -> str:
        """The server's version; OutputError if nobody answers there, or somebody else than Ollama."""
        answer = self._json("GET", "/api/version")
        if not isinstance(answer, dict) or not isinstance(answer.get("version"), str):
            raise self._failed("it is not Ollama's")
        return str(answer["version"])

    def models(self) -> dict[str, str]:
        """The digests of the manifests of all models, by name; OutputError for an answer that is none of Ollama's."""
        answer = self._json("GET", "/api/tags")
        try:
            return {m.name: m.digest for m in msgspec.convert(answer, _Models).models or ()}
        except msgspec.ValidationError as error:
            raise self._failed(f"/api/tags: {error}") from None

    def has_blob(self, sha256: str) -> bool:
        """Whether the server has the blob; OutputError if it answers something else."""
        with closing(self._connection(_SECONDS)) as connection:
            status = self._ask(connection, "HEAD", f"/api/blobs/sha256:{sha256}").status
        if status not in (200, 404):
            raise self._failed(f"asked for a blob, it answered {status}")
        return status == 200

    def upload(self, path: Path, sha256: str, progress: Progress) -> None:
        """Sends the file as a blob; one that is there already, or comes there meanwhile, is well too."""
        target, size = f"/api/blobs/sha256:{sha256}", path.stat().st_size
        with closing(self._connection(_UPLOAD_SECONDS)) as connection, path.open("rb") as file:
            try:
                self.call("upload", self._begin, connection, target, size)
                self._send(connection, file, progress)
            except OSError as error:  # it had the blob, answered at once, and closed
                cut: OSError | None = error
            else:
                cut = None
            status, said = 0, ""
            with suppress(OSError, http.client.HTTPException):
                answer = self.call("answer", connection.getresponse)
                status, said = answer.status, _error_of(answer.read(_LONGEST_ANSWER))
        if status in (200, 201) or (cut is not None and self.has_blob(sha256)):
            return
        found = said or (f"it answered {status}" if status else f"the connection broke: {cut or 'no answer'}")
        raise self._failed(f"{path.name} could not be sent: {found}")

    def create(self, request: Mapping[str, object]) -> Iterator[str]:
        """Has the model made; yields what the server says of its progress.

        It may say nothing for hours while it rewrites a file, so nothing is timed. OutputError for an error, which may
        stand in an answer of status 200, and for an answer that ends before success.
        """
        with closing(self._connection(None)) as connection:
            answer = self._ask(connection, "POST", "/api/create", json.dumps(request).encode())
            if answer.status != 200:
                raise self._failed(_error_of(answer.read(_LONGEST_ANSWER)) or f"it answered {answer.status}")
            while line := self._line(answer):
                if error := line.get("error"):
                    raise self._failed(str(error))
                status = str(line.get("status", ""))
                yield status
                if status == "success":
                    return
        raise self._failed("it ended before it said that the model is made")

    def _line(self, answer: http.client.HTTPResponse) -> dict[str, Any] | None:
        """The next line of JSON; None at the end."""
        try:
            text = self.call("progress", answer.readline, _LONGEST_ANSWER)
            found = json.loads(text) if text else None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self._failed(f"its answer broke: {error}") from None
        return found if isinstance(found, dict) else None

    def _json(self, method: str, target: str) -> object:
        with closing(self._connection(_SECONDS)) as connection:
            answer = self._ask(connection, method, target)
            try:
                data = answer.read(_LONGEST_ANSWER)
                if answer.status != 200:
                    raise self._failed(_error_of(data) or f"{target}: it answered {answer.status}")
                return json.loads(data)
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise self._failed(f"{target}: {error}") from None

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: bytes | None = None
    ) -> http.client.HTTPResponse:
        headers = {"User-Agent": f"deepgguf/{__version__}"}
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        try:
            self.call(method, connection.request, method, self._url(target), body, headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(f"no answer: {error or type(error).__name__}") from None

    def _begin(self, connection: http.client.HTTPConnection, target: str, size: int) -> None:
        connection.putrequest("POST", self._url(target))
        for name, value in (("Content-Length", size), ("User-Agent", f"deepgguf/{__version__}")):
            connection.putheader(name, str(value))
        connection.endheaders()

    def _send(self, connection: http.client.HTTPConnection, file: BinaryIO, progress: Progress) -> None:
        while chunk := file.read(_RUN):
            self.call("send", connection.send, chunk)
            progress(len(chunk))

    def _connection(self, seconds: float | None) -> http.client.HTTPConnection:
        """A connection, by way of a proxy where the environment names one for this address."""
        secure = self.address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        proxy = self._proxy()
        if proxy is None:
            return kind(self.address.host, self.address.port, timeout=seconds)
        connection = kind(proxy.hostname or "", proxy.port or 80, timeout=seconds)
        if secure:
            connection.set_tunnel(self.address.host, self.address.port)
        return connection

    def _proxy(self) -> urllib.parse.SplitResult | None:
        """As Go's client has it: never for this machine."""
        if self.address.is_local or urllib.request.proxy_bypass(self.address.host):
            return None
        url = urllib.request.getproxies().get(self.address.scheme)
        return urllib.parse.urlsplit(url if "://" in url else f"http://{url}") if url else None

    def _url(self, target: str) -> str:
        """What is asked for: a path, or for a proxy of plain HTTP the whole URL."""
        through = self.address.scheme == "http" and self._proxy() is not None
        return f"{self.address}{target}" if through else f"{self.address.path}{target}"

    def _failed(self, found: str) -> OutputError:
        advice = "see the server's log, then do it again, a conversion with `resume=True`"
        return OutputError(f"the Ollama server at {self.address}", printable(found, 600), advice)


def _error_of(data: bytes) -> str:
    """The error that an answer holds; "" if it holds none."""
    with suppress(ValueError):
        found = json.loads(data)
        if isinstance(found, dict) and found.get("error"):
            return str(found["error"])
    return ""
