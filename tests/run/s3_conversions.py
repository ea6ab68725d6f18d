"""Conversions to S3 with parts of 64 KiB, so that small files have many: in this process, or in one that is killed.

As a program: the command line with such parts.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import moto.s3.models

import deepgguf
from deepgguf.run import execute
from deepgguf.run.s3 import parts

PART = 65536
SOURCE = Path(deepgguf.__file__).parents[1]


def small_parts() -> None:
    parts._PART, parts._STEP = PART, 4096
    moto.s3.models.S3_UPLOAD_PART_MIN_SIZE = 4096


def begun(*arguments: str) -> "subprocess.Popen[bytes]":
    """`deepgguf convert`, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, __file__, "convert", *arguments],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def killed_when(condition: Callable[[], bool], *arguments: str) -> bool:
    """Kills a conversion as soon as that is so; returns whether it was killed before its end."""
    process = begun(*arguments)
    while not condition() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode < 0


if __name__ == "__main__":
    from deepgguf.cli import main

    parts._PART, parts._STEP = PART, 4096
    execute._RECORD_SECONDS = 0  # a file of 8 MB is uploaded before a second is over
    raise SystemExit(main(sys.argv[1:]))
