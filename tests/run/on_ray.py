"""Every sample, type, source and output with every other on a Ray cluster of three nodes, and runs whose nodes are killed.

`python on_ray.py [--kills 10] [--folder DIR]`: prints a line for each, and fails an assertion if one byte differs from what
threads make.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "run")]

from node_accidents import SlowFiles  # noqa: E402
from s3_conversions import small_parts  # noqa: E402

import deepgguf  # noqa: E402
from cloud_server import BUCKET, Cloud, cloud_server, environment  # noqa: E402
from deepgguf.planning import windows  # noqa: E402
from deepgguf.run.s3 import far_parts, parts  # noqa: E402
from golden import GOLDENS  # noqa: E402
from golden_samples import SAMPLES  # noqa: E402
from ray_cluster import Nodes, connected, ray_cluster  # noqa: E402
from web_server import MODEL, speak_for_the_hub, web_of  # noqa: E402

TYPES: Mapping[str, tuple[str, ...]] = {
    "v3-fp8": ("auto", "q4_k_m", "iq2_xxs"),
    "v2-lite": ("auto", "q4_k_m", "iq2_xxs"),
    "ocr": ("auto", "q4_k_m", "iq2_xxs"),
}
MATRICES = {"v3-fp8": "v3-bf16", "v2-lite": "v2-lite", "ocr": "ocr"}


def choices_of(sample: str, type: str) -> dict[str, Any]:
    if type != "iq2_xxs":
        return {"type": type, "target": "llama.cpp"}
    matrix = GOLDENS / "imatrix" / f"imatrix-{MATRICES[sample]}.gguf"
    return {"type": type, "target": "llama.cpp", "imatrix": matrix}


def digests(report: deepgguf.Report, cloud: Cloud) -> list[str]:
    contents = (f.path.read_bytes() if isinstance(f.path, Path) else cloud.get(f.path.key) for f in report.files)
    return [sha256(content).hexdigest() for content in contents]


@contextmanager
def sources_of(sample: str, folder: Path, nodes: Nodes) -> Iterator[tuple[dict[str, str], Cloud]]:
    """The sample in a folder, on the Hub and in a bucket, with this process connected to the cluster."""
    with cloud_server() as cloud, web_of(folder) as web, pytest.MonkeyPatch.context() as patch:
        speak_for_the_hub(patch, web)
        known = environment(cloud.url) | {"HF_ENDPOINT": web.host(), "HF_HUB_OFFLINE": "0"}
        with connected(nodes, known):
            yield {"folder": str(folder), "hub": f"hf:{MODEL}", "bucket": cloud.put_folder(folder, sample)}, cloud


def convert_everything(sample: str, folder: Path, out: Path, nodes: Nodes) -> None:
    with sources_of(sample, folder, nodes) as (sources, cloud):
        for (kind, source), type in product(sources.items(), TYPES[sample]):
            choices = choices_of(sample, type)
            expected = digests(deepgguf.convert(source, out / f"{sample}-{kind}-{type}.gguf", **choices), cloud)
            for where in (out / f"ray-{sample}-{kind}-{type}.gguf", f"s3://{BUCKET}/{sample}-{kind}-{type}/x.gguf"):
                began = time.monotonic()
                made = deepgguf.convert(source, where, executor=deepgguf.Ray(), **choices)
                same = digests(made, cloud) == expected
                to = "a folder" if isinstance(where, Path) else "a bucket"
                by = ", ".join(f"{node} {pieces}" for node, pieces in made.nodes.items())
                print(
                    f"{sample} {type} from {kind} to {to}: the same: {same}, {time.monotonic() - began:.1f} s, {by}",
                    flush=True,
                )
                assert same and not made.came_back


def kill_nodes(folder: Path, out: Path, nodes: Nodes, kills: int) -> None:
    """Each time another node, at another moment."""
    chance = random.Random(1)
    expected = sha256(
        deepgguf.convert(folder, out / "undisturbed.gguf", type="q4_k_m").files[0].path.read_bytes()
    ).hexdigest()
    with connected(nodes):
        for number in range(kills):
            name, after = chance.choice(["node-2", "node-3"]), chance.random()
            report = _killed(folder, out / f"killed-{number}.gguf", nodes, name, after)
            same = sha256(report.files[0].path.read_bytes()).hexdigest() == expected
            print(
                f"{name} killed after {after:.0%}: the same: {same}, again: {report.again}, {report.seconds:.1f} s",
                flush=True,
            )
            assert same
            nodes.start(name)


def _killed(folder: Path, output: Path, nodes: Nodes, name: str, after: float) -> deepgguf.Report:
    plan = deepgguf.plan(SlowFiles(folder), output, type="q4_k_m")
    done, lock = [0], threading.Lock()

    def progress(nbytes: int) -> None:
        done[0] += nbytes
        if done[0] > after * plan.size and name in nodes.by_name:
            with lock:
                nodes.kill(name)

    report = plan.run(executor=deepgguf.Ray(), progress=progress)
    if name in nodes.by_name:  # the last result came before its moment
        nodes.kill(name)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    windows._LARGEST = windows._SMALLEST = 64 << 10  # so that a sample has tasks for every node
    small_parts()
    parts._PART = 512 << 10  # longer than any piece: moto fails where one part is sent twice at once
    far_parts._LEAST = 1
    with tempfile.TemporaryDirectory(dir=options.folder) as parent, ray_cluster() as nodes:
        out = Path(parent, "out")
        out.mkdir()
        for sample in TYPES:
            kind, how = SAMPLES[sample]
            folder = Path(deepgguf.sample(kind, Path(parent, sample), **how).folder)
            convert_everything(sample, folder, out, nodes)
        kill_nodes(Path(parent, "v3-fp8"), out, nodes, options.kills)


if __name__ == "__main__":
    main()
