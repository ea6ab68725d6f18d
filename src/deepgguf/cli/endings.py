"""How a command that fails ends: its exit status, and its one line on standard error."""

import signal
from pathlib import Path

from deepgguf.cli.flags import in_flags
from deepgguf.cli.signals import Stopped
from deepgguf.errors import (
    CheckpointError,
    DeepggufError,
    GGUFError,
    OutputError,
    UsageError,
    VerificationError,
    printable,
)

EXIT_STATUSES = """\
exit status:
  0    done, or already complete (with --resume)
  1    the source is at fault
  2    wrong usage, or the output exists
  3    a file is not what it should be
  4    input or output failed, or the disk is full; --resume resumes the run
  70   a bug in deepgguf
  130  interrupted (SIGINT); 143 SIGTERM; 129 SIGHUP
"""
_SYSTEM, _BUG = 4, 70
_STATUSES = {CheckpointError: 1, UsageError: 2, GGUFError: 3, VerificationError: 3, OutputError: _SYSTEM}


def ending(error: BaseException) -> tuple[int, str | None]:
    """Exit status and complaint; None for a reader of standard output that has gone, as for any command in a pipe."""
    match error:
        case DeepggufError():
            statuses = (status for type, status in _STATUSES.items() if isinstance(error, type))
            return next(statuses, _BUG), in_flags(str(error))
        case Stopped(number=number):
            name = signal.Signals(number).name
            text = f"{name}: stopped; if a conversion was under way, the same command with --resume resumes it"
            return 128 + number, text
        case BrokenPipeError():
            return 128 + signal.SIGPIPE, None
        case MemoryError():
            return _SYSTEM, "out of memory; give fewer --jobs"
        case OSError():
            where = printable(error.filename) if error.filename else "the system"
            return _SYSTEM, f"{where}: {error.strerror or printable(error)}; check the disk and the permissions"
    return _BUG, f"a bug: {_origin(error)}; please report it, with the command"


def _origin(error: BaseException) -> str:
    """What was raised and in which line of which file, on one line."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    place = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else "nowhere"
    return printable(f"{type(error).__name__} in {place}: {error}")
