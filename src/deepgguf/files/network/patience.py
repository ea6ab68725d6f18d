"""How long to wait for a server, and how often to ask again."""

import random
from email.utils import parsedate_to_datetime
from time import time

import msgspec

from deepgguf.files.network.http_client import Headers


class Patience(msgspec.Struct, frozen=True):
    """Seconds, but for what is said otherwise.

    A request is repeated up to `attempts` times without a byte that is new; `greetings` times if the server has never
    answered, when there is nothing to lose yet. The wait before a repetition doubles from
    `first` to `longest`, and is a random part of that, so that many readers do not come back at once. A server may ask
    for `asked` at most. A connection is given up if it takes more than `stall` to open, to answer, or for as many bytes
    as are waited for at a time: `slice` of them, up to `most` where they come fast.
    """

    attempts: int = 8
    greetings: int = 4
    first: float = 0.5
    longest: float = 30.0
    asked: float = 300.0
    stall: float = 30.0
    slice: int = 1 << 17
    most: int = 4 << 20

    def wait(self, failures: int, asked: float | None) -> float:
        """How long to wait after so many failures in a row; `asked` is what the server wants, None if it said nothing.

        What a server wants is waited for, and a little longer.
        """
        spread = random.uniform(0.5, 1) * min(self.longest, self.first * 2.0 ** (failures - 1))
        return spread if asked is None else min(asked, self.asked) + min(spread, 1)

    def next_slice(self, nbytes: int, seconds: float) -> int:
        """How many bytes to wait for next, when `nbytes` took so long: the more at a time, the less work for Python."""
        return min(self.most, 2 * nbytes) if seconds < self.stall / 60 else self.slice


PATIENCE = Patience()


def asked_for(headers: Headers) -> float | None:
    """The seconds that a server wants to be left alone: Retry-After (RFC 9110, 10.2.3), or RateLimit's t where r is 0
    (draft-ietf-httpapi-ratelimit-headers, as the Hub sends it); None if it says nothing that can be understood.
    """
    after = headers.get("Retry-After", "").strip()
    if after.isascii() and after.isdigit() and len(after) < 10:
        return float(after)
    if after:
        try:
            return max(0.0, parsedate_to_datetime(after).timestamp() - time())
        except (ValueError, OverflowError):
            return None
    for item in headers.get("RateLimit", "").split(","):
        fields = dict(field.strip().partition("=")[::2] for field in item.split(";"))
        left = fields.get("t", "")
        if fields.get("r") == "0" and left.isascii() and left.isdigit() and len(left) < 10:
            return float(left)
    return None
