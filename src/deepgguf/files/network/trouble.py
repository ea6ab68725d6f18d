"""What goes wrong between here and a server: what it is called, whether to ask again, and when to give up."""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TypeVar

from deepgguf.errors import OutputError
from deepgguf.files.network.http_client import Headers, NotAnAddressError, StaleError
from deepgguf.files.network.patience import Patience, asked_for
from deepgguf.files.traffic import Meter

_T = TypeVar("_T")

NOT_NOW = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that may be others the next time."""

_ENDS = "is not read any more: the run ends"
_LATER = "check the network, then run again with `resume=True`"
_CERTIFICATE = "check the address and this machine's clock; a network's own certificates: set SSL_CERT_FILE"

# The first that an exception is, in the words of the summary and of the error.
_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "the host's name is not found"),
    (TimeoutError, "nothing came any more"),
    (ConnectionRefusedError, "connection refused"),
    (http.client.RemoteDisconnected, "connection lost"),
    (ConnectionError, "connection lost"),
    (http.client.IncompleteRead, "body too short"),
    (http.client.HTTPException, "an answer that is not HTTP"),
    (ssl.SSLError, "TLS failed"),
    (OSError, "network error"),
)


class Trouble(Exception):  # noqa: N818 - not what a caller sees: a request that may go well the next time
    """A request that went wrong and is worth another: what is the matter, and the seconds that the server asked for.

    `at_once`: the reason is known and gone, such as a signed address that has expired. `crowded`: there were too many
    requests for the server.
    """

    def __init__(self, what: str, asked: float | None = None, *, at_once: bool = False, crowded: bool = False) -> None:
        super().__init__(what)
        self.what, self.asked, self.at_once, self.crowded = what, asked, at_once, crowded


def status_trouble(status: int, headers: Headers) -> Trouble:
    """That of a status in NOT_NOW."""
    return Trouble(f"status {status}", asked_for(headers), crowded=status in (429, 503))


class Tries:
    """How often a request has failed without getting on."""

    def __init__(self) -> None:
        self.failures = 0

    def got_on(self) -> None:
        """Bytes came that were not there before: the next failure is the first."""
        self.failures = 0


class Insistence:
    """Asks again until it goes well or there is no hope, from any thread."""

    def __init__(self, patience: Patience, meter: Meter) -> None:
        self.patience, self.meter, self._abandoned = patience, meter, threading.Event()

    def abandon(self) -> None:
        """Has nothing repeated any more, and ends the waits."""
        self._abandoned.set()

    def resume(self) -> None:
        """Has requests repeated again."""
        self._abandoned.clear()

    def until_done(self, where: str, ask: Callable[[Tries], _T]) -> _T:
        """The result of `ask`, which is called again after a `Trouble` or what happens to connections.

        OutputError for `where` when there is no hope: too many failures in a row, or one that would be the same again.
        """
        tries = Tries()
        while True:
            if self._abandoned.is_set():
                raise OutputError(where, _ENDS, _LATER)
            try:
                return ask(tries)
            except StaleError:
                continue  # each ends one of the connections that are kept
            except ssl.SSLCertVerificationError as error:
                found = f"the server's certificate is wrong: {error.verify_message or error}"
                raise OutputError(where, found, _CERTIFICATE) from None
            except NotAnAddressError as error:
                raise OutputError(where, f"redirected to {error}, which is no address", "try again later") from None
            except (Trouble, OSError, http.client.HTTPException) as error:
                self._wait(where, tries, error)

    def _wait(self, where: str, tries: Tries, error: BaseException) -> None:
        trouble = error if isinstance(error, Trouble) else Trouble(_in_words(error))
        tries.failures += 1
        if self._abandoned.is_set():
            raise OutputError(where, _ENDS, _LATER)
        if tries.failures >= (self.patience.attempts if self.meter.answered else self.patience.greetings):
            found = f"cannot be read: {trouble.what} ({tries.failures} times in a row)"
            raise OutputError(where, found, _LATER)
        self.meter.repeated(trouble.what)
        if not trouble.at_once or tries.failures > 1:
            self._abandoned.wait(self.patience.wait(tries.failures, trouble.asked))


def _in_words(error: BaseException) -> str:
    return next(words for kind, words in _WORDS if isinstance(error, kind))
