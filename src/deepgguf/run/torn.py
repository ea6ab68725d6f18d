"""What a crash leaves of bytes that were being written: some of them, and zeros where the others belong."""

import numpy as np


def may_be_left_of(written: bytes, found: bytes) -> bool:
    """Whether `found`, as far as it reaches, has nothing but bytes of `written` in their places, and zeros."""
    shorter = min(len(written), len(found))
    theirs, ours = (np.frombuffer(data, np.uint8, shorter) for data in (found, written))
    return not ((theirs != ours) & (theirs != 0)).any()
