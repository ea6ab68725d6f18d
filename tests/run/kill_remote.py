"""Kills conversions from a server 20 times and resumes them; prints what was read twice, and fails an assertion if one
byte differs or more than 2 % came twice.

`python kill_remote.py [--kills 20] [--folder DIR] [--as-it-is]`: the bench checkpoint (2.7 GB) over a line of 25 MB/s,
in the proportions of DeepSeek-V3 over one of 100 MB/s: there a window is a part in 22,000 of the checkpoint, what is
read ahead one in 1,300, and what is not yet recorded one in 5,500 of the time. With --as-it-is windows and records are
those that 2.7 GB have, of which a kill costs a larger part.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks")]

from conversion import bench_checkpoint  # noqa: E402
from remote import Line, count, served  # noqa: E402

_V3_BYTES, _V3_WINDOWS, _V3_SECONDS, _RATE = 688 * 10**9, 22_000, 5_500, 25e6

_SCALED = """
import sys
from deepgguf.cli import main
from deepgguf.files.network import network_files
from deepgguf.planning import ahead, windows
from deepgguf.run import execute
network_files.SMALL = 0
windows._SMALLEST = windows._LARGEST = {window}
ahead._MEMORY = int(ahead._MEMORY * {bytes})
execute._RECORD_SECONDS *= {seconds}
sys.exit(main(sys.argv[1:]))
"""


def command(size: int, as_it_is: bool) -> list[str]:
    if as_it_is:
        return [sys.executable, "-m", "deepgguf"]
    a_second = size / _RATE / _V3_SECONDS
    return [
        sys.executable, "-c",
        _SCALED.format(window=size // _V3_WINDOWS, bytes=size / _V3_BYTES, seconds=a_second),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--as-it-is", action="store_true")
    options = parser.parse_args()
    source = bench_checkpoint(options.folder, "v3-fp8")
    size = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    with tempfile.TemporaryDirectory(dir=options.folder) as out, served(source, Line(0, 0, _RATE)) as address:
        program = command(size, options.as_it_is)
        began = time.monotonic()
        undisturbed = converted([*program, "convert", address, "-o", f"{out}/undisturbed.gguf"])
        seconds, (_, once) = time.monotonic() - began, count(address)
        began = time.monotonic()
        subprocess.run([*program, "plan", address], check=True, stdout=subprocess.DEVNULL)
        planning, before = time.monotonic() - began, count(address)[1]
        again = before - once
        disturbed = [*program, "convert", address, "-o", f"{out}/killed.gguf", "--resume"]
        kills = killed(disturbed, planning, (seconds - planning) / options.kills, options.kills)
        digest = converted([*disturbed, "--overwrite"])  # the last may not have been killed in time
        twice = count(address)[1] - before - once
    print(f"{kills} kills, the same SHA-256: {digest == undisturbed}; {twice / 1e6:,.0f} MB came twice,")
    print(
        f"of these {kills * again / 1e6:,.0f} MB to plan again, and {(twice - kills * again) / size:.2%} of the weights"
    )
    assert digest == undisturbed
    assert options.as_it_is or twice - kills * again <= 0.02 * size


def killed(words: list[str], planning: float, share: float, times: int) -> int:
    """Runs the command and kills it, so many times; how often it had not ended yet."""
    chance, kills = random.Random(1), 0
    for _ in range(times):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(planning + chance.uniform(0, share))
        process.kill()
        kills += process.wait() != 0
        if process.returncode == 0:
            break
    return kills


def converted(words: list[str]) -> str:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    with Path(words[words.index("-o") + 1]).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
