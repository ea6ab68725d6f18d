"""One HTTP exchange over connections that are used again, from any thread; knows nothing of files.

Python's own http.client: it reads a body from the socket into the caller's memory. Measured over a local socket, 32 MB
a request, it takes 0.5 s of processor time for 1.2 GB, urllib3 1.2 s and httpx 2.5 s, which copy every byte.
Certificates are those of the system (SSL_CERT_FILE and SSL_CERT_DIR as OpenSSL has them), proxies those of HTTPS_PROXY,
HTTP_PROXY and NO_PROXY.
"""

import base64
import http.client
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import NamedTuple, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from deepgguf.version import __version__

_IDLE = 64  # connections that are kept open for the next request
_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """To whom a connection leads; what is secret is sent to no other."""

    scheme: str
    host: str
    port: int


class Headers(Protocol):
    """The headers of an answer, by names in whatever case."""

    def get(self, name: str, default: str, /) -> str:
        """The header, or `default`."""


class NotAnAddressError(ValueError):
    """An address that names no host, or is of another scheme than http and https."""


class StaleError(ConnectionError):
    """A connection that was used before had been closed meanwhile; another one may not be."""


def origin_of(url: str) -> Origin:
    """Scheme, host and port; NotAnAddressError if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise NotAnAddressError(url) from None
    if not parts.hostname or not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        raise NotAnAddressError(url)
    return Origin(parts.scheme, parts.hostname, port)


class Client:
    """Sends requests; after `stall` seconds without a connection, or without as many bytes as a read asks for, it gives
    the connection up.
    """

    def __init__(self, stall: float) -> None:
        self._stall, self._lock, self._closed = stall, threading.Lock(), threading.Event()
        self._idle: list[tuple[Origin, http.client.HTTPConnection]] = []
        self._deadlines: dict[http.client.HTTPConnection, float] = {}
        self._given_up: set[http.client.HTTPConnection] = set()
        self._watch: threading.Thread | None = None

    @contextmanager
    def exchange(self, method: str, url: str, headers: Mapping[str, str]) -> Iterator["Exchange"]:
        """The answer, of which the body is still to be read; redirects are not followed.

        Raises OSError and http.client.HTTPException as they come, StaleError if a connection may be to blame that had
        been used before.
        """
        origin = origin_of(url)
        used, connection = self._taken(origin)
        self.allow_more_time(connection)
        try:
            response = self._sent(connection, used, method, url, headers)
            yield Exchange(self, connection, response)
            # What is left of a body is not waited for.
            whole = response.isclosed() or (response.length == 0 and not response.read())
        except BaseException:
            connection.close()
            raise
        finally:
            with self._lock:
                self._deadlines.pop(connection, None)
                self._given_up.discard(connection)
        if whole and connection.sock:
            self._keep(origin, connection)
        else:
            connection.close()

    def allow_more_time(self, connection: http.client.HTTPConnection) -> None:
        """Gives a connection as much time as at its start."""
        with self._lock:
            if self._watch is None:
                self._closed = threading.Event()
                self._watch = threading.Thread(target=self._give_up, args=(self._closed,), daemon=True)
                self._watch.start()
            self._deadlines[connection] = time.monotonic() + self._stall

    def _give_up(self, closed: threading.Event) -> None:
        """Ends what is past its time, until the client is closed: a read of the socket can wait for ever, if a byte
        comes now and then.
        """
        while not closed.wait(self._stall / 8):
            self._shut_down(before=time.monotonic())

    def gave_up(self, connection: http.client.HTTPConnection) -> bool:
        """Whether a connection was ended from here."""
        with self._lock:
            return connection in self._given_up

    def abandon(self) -> None:
        """Ends every exchange that is under way, with an OSError or http.client.HTTPException."""
        self._shut_down(before=float("inf"))

    def _shut_down(self, before: float) -> None:
        with self._lock:
            for connection, deadline in self._deadlines.items():
                opened = connection.sock  # its reader may close it just now
                if deadline < before and opened:
                    self._given_up.add(connection)
                    with suppress(OSError):
                        opened.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes what is idle."""
        with self._lock:
            idle, self._idle, self._watch = self._idle, [], None
            self._closed.set()
        for _, connection in idle:
            connection.close()

    def _sent(
        self, connection: http.client.HTTPConnection, used: bool, method: str, url: str, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        own = {"Accept-Encoding": "identity", "User-Agent": f"deepgguf/{__version__}", "Accept": "*/*"}
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.scheme == "http" and _proxy(parts):
            target = url.partition("#")[0]
            own |= _proxy_credentials(_proxy(parts))
        try:
            connection.request(method, target, headers=own | dict(headers))
            return connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine) as error:
            if used:
                raise StaleError(*error.args) from error
            raise

    def _taken(self, origin: Origin) -> tuple[bool, http.client.HTTPConnection]:
        """Whether the connection was used before, and the connection."""
        with self._lock:
            for place, (other, connection) in enumerate(self._idle):
                if other == origin:
                    del self._idle[place]
                    return True, connection
        return False, _connection(origin, self._stall)

    def _keep(self, origin: Origin, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.append((origin, connection))
            oldest = self._idle.pop(0)[1] if len(self._idle) > _IDLE else None
        if oldest:
            oldest.close()


class Exchange:
    """A request that was answered: status, headers, and the body as far as it is asked for."""

    def __init__(
        self, client: Client, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        self._client, self._connection, self._response = client, connection, response
        self.status = response.status
        self.headers: Headers = response.headers
        self.length = response.length
        """Bytes of the body; None if only its end tells."""

    def readinto(self, view: memoryview) -> int:
        """Bytes of the body; fewer than `view` has only where it ends. OSError if they take too long."""
        self._client.allow_more_time(self._connection)
        try:
            came = self._response.readinto(view)
        except OSError:
            came = 0
            if not self._client.gave_up(self._connection):
                raise
        if not came and self._client.gave_up(self._connection):
            raise TimeoutError
        return came

    def read(self, most: int) -> bytes:
        """The body up to `most` bytes."""
        return self._response.read(most)

    @property
    def more(self) -> bool:
        """Whether the body goes on."""
        return self._response.length != 0 and bool(self._response.read(1))


def _connection(origin: Origin, stall: float) -> http.client.HTTPConnection:
    scheme, host, port = origin
    proxy = _proxy(urlsplit(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"))
    where, at = (proxy.hostname or "", proxy.port or _PORTS["http"]) if proxy else (host, port)
    if scheme == "http":
        return http.client.HTTPConnection(where, at, timeout=stall)
    connection = http.client.HTTPSConnection(where, at, timeout=stall, context=_certificates())
    if proxy:
        connection.set_tunnel(host, port, headers=_proxy_credentials(proxy))
    return connection


def _proxy(parts: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for an address."""
    named = urllib.request.getproxies().get(parts.scheme)
    if not named or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urlsplit(named if "://" in named else f"http://{named}")


def _proxy_credentials(proxy: SplitResult | None) -> dict[str, str]:
    if not proxy or not proxy.username:
        return {}
    return {"Proxy-Authorization": basic(unquote(proxy.username), unquote(proxy.password or ""))}


def basic(user: str, password: str) -> str:
    """The header that authorizes by a password (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()
