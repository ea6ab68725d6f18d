"""A source for which requests are expensive is read a window at a time, each byte once, and makes the same file."""

import threading

import deepgguf
from deepgguf.files.local import LocalFiles
from deepgguf.planning.windows import windows


class Distant(LocalFiles):
    """A folder that stands for a distant one, and notes the requests for weights."""

    whole_windows = True

    def __init__(self, path):
        super().__init__(path)
        self.requests, self.lock = [], threading.Lock()

    def readinto(self, file, offset, buffer):
        with self.lock:
            self.requests.append((file.name, offset, memoryview(buffer).nbytes))
        super().readinto(file, offset, buffer)


def test_every_range_of_every_window_is_one_request_and_the_bytes_are_the_same(checkpoint, tmp_path):
    for name, type in (("v3-fp8", "q4_k_m"), ("v2-lite", "auto")):
        files = Distant(checkpoint(name))
        near, plan = (
            deepgguf.plan(source, tmp_path / f"{name}-{number}.gguf", type=type, target="llama.cpp")
            for number, source in enumerate((checkpoint(name), files))
        )
        near.run()
        files.requests.clear()
        plan.run(jobs=2)
        expected = [
            (plan.sources[range.file].name, range.start, range.nbytes)
            for window in windows(plan)
            for range in window.ranges()
        ]
        assert sorted(request for request in files.requests if request[2]) == sorted(expected)
        assert (tmp_path / f"{name}-1.gguf").read_bytes() == (tmp_path / f"{name}-0.gguf").read_bytes()


def test_the_plan_counts_the_window_among_the_memory_that_is_needed(checkpoint):
    from deepgguf.planning.needs import memory_needed
    from deepgguf.planning.windows import window_bytes

    near, distant = (deepgguf.plan(files) for files in (checkpoint("v2-lite"), Distant(checkpoint("v2-lite"))))
    assert memory_needed(distant, jobs=3) == memory_needed(near, jobs=3) + 3 * window_bytes(distant)
