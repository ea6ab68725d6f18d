"""Where the server is, by OLLAMA_HOST as Ollama's client reads it (envconfig/config.go, Host, ConnectableHost)."""

import ipaddress
from contextlib import suppress

import msgspec

_DEFAULT_HOST = "127.0.0.1"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PORT = 11434  # without a scheme
_HOSTED = "ollama.com"


class Address(msgspec.Struct, frozen=True):
    """A server's address; `path` is put before `/api/…`, and is empty or begins with a slash."""

    scheme: str = "http"
    host: str = _DEFAULT_HOST
    port: int = _PORT
    path: str = ""

    @property
    def netloc(self) -> str:
        """Host and port, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """As a URL."""
        return f"{self.scheme}://{self.netloc}{self.path}"

    @property
    def is_local(self) -> bool:
        """Whether it is this machine by its name."""
        ip = _ip(self.host)
        return ip.is_loopback if ip else self.host.lower() == "localhost"


def server_address(given: str) -> Address:
    """The address that the value of OLLAMA_HOST stands for: `[scheme://]host[:port][/path]`, or nothing.

    The variable is the server's bind address too: 0.0.0.0 and :: are nowhere that a client could connect to.
    """
    value = given.strip().strip("\"'").strip()
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest = "http", value
        if value == _HOSTED:
            return Address("https", _HOSTED, 443)
    default = _DEFAULT_PORTS.get(scheme, _PORT) if separator else _PORT
    netloc, _, path = rest.partition("/")
    host, port = _split(netloc, default)
    return Address(scheme, _connectable(host), port, f"/{path.strip('/')}" if path.strip("/") else "")


def _split(netloc: str, default: int) -> tuple[str, int]:
    """Host and port. What is no port is the default one; an IPv6 address may stand without brackets."""
    if _ip(netloc.strip("[]")):
        return netloc.strip("[]"), default
    host, colon, port = netloc.rpartition(":")
    if not colon:
        return netloc or _DEFAULT_HOST, default
    number = int(port) if port.isascii() and port.isdigit() else -1
    return host.strip("[]") or _DEFAULT_HOST, number if 0 <= number <= 65535 else default


def _connectable(host: str) -> str:
    ip = _ip(host)
    if ip is None or not ip.is_unspecified:
        return host
    return _DEFAULT_HOST if ip.version == 4 else "::1"


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with suppress(ValueError):
        return ipaddress.ip_address(text)
    return None
