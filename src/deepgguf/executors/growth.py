"""How many windows are read ahead: more as long as the line rewards it. A pure decision; `Turns` measures for it."""

import msgspec

ROUND, SECONDS = 2, 1.0  # times `limit` windows, and a second at least: bursts and pauses are not the line's speed
_REST = 8  # rounds until it is tried again: what a line gives changes
_WORTH = 0.5  # of what as many times more windows would bring at most


class Growth(msgspec.Struct, frozen=True):
    """`limit` windows are read ahead, `most` at most.

    `before` is the limit to return to and its bytes a second, while a larger one is on trial; `rest` the rounds until
    the next trial. A round is as many windows and as long as ROUND and SECONDS say, and those who work on them waited.
    """

    limit: int
    most: int
    before: tuple[int, float] | None = None
    rest: int = 0

    def after(self, rate: float) -> "Growth":
        """What follows a round that brought `rate` bytes a second.

        A quarter more is tried. It stays if it brings half as much more as it could, an eighth, and then again a
        quarter more is tried; else it is taken back.
        """
        if self.before is not None:
            limit, slower = self.before
            if rate < slower * (1 + _WORTH * (self.limit / limit - 1)):
                return Growth(limit, self.most, rest=_REST)
        if self.rest or self.limit >= self.most:
            return Growth(self.limit, self.most, rest=max(0, self.rest - 1))
        more = min(self.most, self.limit + max(1, self.limit // 4))
        return Growth(more, self.most, before=(self.limit, rate))
