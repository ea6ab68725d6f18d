"""A conversion that is disturbed and resumed, as often as one likes: always the same bytes, or nothing."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import deepgguf
from deepgguf.errors import OutputError
from deepgguf.executors.threads import Threads
from deepgguf.planning.schema import Plan
from deepgguf.run.disk import Disk
from deepgguf.run.execute import execute_together
from deepgguf.run.file_job import Output, Placed, without_twins
from deepgguf.run.settings import Settings


class Conversion(NamedTuple):
    """A source, the choices, and the SHA-256 of every file that an undisturbed run makes of it; what plans it.

    `plan` is called with source, path of the output, and choices; the plan, or those of several outputs, come of it.
    """

    source: Path
    choices: Mapping[str, Any]
    hashes: Mapping[str, str]
    plan: Callable[..., Plan | tuple[Plan, ...]] = deepgguf.plan


def undisturbed(
    source: Path, out: Path, plan: Callable[..., Plan | tuple[Plan, ...]] = deepgguf.plan, **choices: Any
) -> Conversion:
    """The conversion of `source`, done once into the new folder `out` to know what must come of it."""
    out.mkdir()
    conversion = Conversion(source, choices, {}, plan)
    convert(conversion, out)
    return conversion._replace(hashes=_hashes(out))


def convert(conversion: Conversion, out: Path, disk: Disk | None = None, **settings: Any) -> None:
    """One run into the folder `out`."""
    made = conversion.plan(conversion.source, out / "model.gguf", **conversion.choices)
    plans = without_twins([Placed(plan, out) for plan in made]) if isinstance(made, tuple) else [made]
    outputs = [Output(plan, Settings(folder=out, **settings)) for plan in plans]
    execute_together(outputs, Threads(1), disk=disk)


def plan_several(source: Path, output: Path, **choices: Any) -> tuple[Plan, ...]:
    """Several outputs, called as they would be in the folder of `output`."""
    return deepgguf.plan_several(source, output.parent, **choices)


def killed(conversion: Conversion, out: Path, disk: Disk, **settings: Any) -> bool:
    """One run in its own process; returns whether it was killed."""
    child = os.fork()
    if not child:
        try:
            convert(conversion, out, disk, **settings)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def check_names(conversion: Conversion, out: Path) -> None:
    """What has a final name is whole."""
    for name, found in _hashes(out).items():
        assert found == conversion.hashes[name], name


def check_resumed(conversion: Conversion, out: Path) -> None:
    """`--resume` makes what was left whole, leaves what is whole already, and leaves nothing else."""
    convert(conversion, out, left_part="resume")
    assert _hashes(out) == conversion.hashes
    assert {p.name for p in out.iterdir()} == {*conversion.hashes, *(f"{name}.json" for name in conversion.hashes)}


def every_call(conversion: Conversion, folder: Path, disturbed: Callable[[Conversion, Path, int], bool]) -> int:
    """Disturbs a run at its first call, its second, and so on to its last, and resumes each; returns how many there were.

    `disturbed(conversion, out, k)` says whether there was a k-th call.
    """
    k = 0
    while True:
        out = folder / f"{k + 1}"
        out.mkdir()
        there = disturbed(conversion, out, k + 1)
        check_names(conversion, out)
        check_resumed(conversion, out)
        for path in out.iterdir():
            path.unlink()
        if not there:
            return k
        k += 1


def kill_at(conversion: Conversion, out: Path, k: int) -> bool:
    """SIGKILL before the k-th call."""
    from failing_disks import KillingDisk

    return killed(conversion, out, KillingDisk(k))


def fail_at(conversion: Conversion, out: Path, k: int) -> bool:
    """The k-th call fails."""
    from failing_disks import FailingDisk

    disk = FailingDisk(k)
    with suppress(OutputError):
        convert(conversion, out, disk)
    return disk.calls >= k


def interrupt_at(conversion: Conversion, out: Path, k: int) -> bool:
    """A signal arrives during the k-th call."""
    from failing_disks import InterruptingDisk

    disk = InterruptingDisk(k)
    with suppress(KeyboardInterrupt):
        convert(conversion, out, disk)
    return disk.calls >= k


def _hashes(out: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in out.glob("*.gguf")}
