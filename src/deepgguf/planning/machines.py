"""Which machine a model runs on: those that people have, by their memory."""

MACHINES = (96, 128, 192, 256, 512)
"""Memory of common machines in GiB, which it is sold by as GB."""

_KEPT_FREE = 8  # one part of so many is for the system, the context and the engine's buffers


def smallest_machine(nbytes: int) -> int | None:
    """The least of MACHINES whose memory holds `nbytes` of weights with an eighth left; None if none does."""
    return next((memory for memory in MACHINES if nbytes <= (memory << 30) * (_KEPT_FREE - 1) // _KEPT_FREE), None)
