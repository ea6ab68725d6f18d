"""How a plan is carried out; nothing here decides a byte."""

from typing import Literal

import msgspec

from deepgguf.run.address import Place


class Settings(msgspec.Struct, frozen=True):
    """`below` is a folder that has to be there: what `folder` has below it is made. `left_part` says
    what becomes of a part that an interrupted run left: None refuses it.

    `measure_error` measures the quantization error of every tensor. `jobs` windows are worked on at once, all that the
    executor has by default; it may have more to read ahead.
    """

    folder: Place
    below: Place | None = None
    overwrite: bool = False
    left_part: Literal["resume", "restart"] | None = None
    allow_nonfinite: bool = False
    manifest: bool = True
    sha256: bool = False
    measure_error: bool = False
    jobs: int | None = None
