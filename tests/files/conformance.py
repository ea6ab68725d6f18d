"""What every source of files must do. A test of one inherits these claims:

class TestMyFiles(Conformance):
    def files(self, folder, contents): ...
    def change(self, files, name, content): ...
"""

import pickle
import threading
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pytest

from deepgguf.errors import ChangedError, CheckpointError, OutputError
from deepgguf.files.files import FileFacts, Files
from deepgguf.files.find import find_files

SMALL = b'{"a": 1}'
LARGE = np.random.default_rng(0).bytes(300_000)
CONTENTS = {"config.json": SMALL, "model-00002-of-00002.safetensors": LARGE, "empty": b"", "README.md": b"---\n"}
SHARD = "model-00002-of-00002.safetensors"


class Conformance(ABC):
    """Claims about a source that holds CONTENTS."""

    @abstractmethod
    def files(self, folder: Path, contents: dict[str, bytes]) -> Files:
        """A source of files with these contents; whatever lies on this machine goes into the empty `folder`."""

    @abstractmethod
    def change(self, files: Files, name: str, content: bytes) -> None:
        """Puts another content in the place of a file of `files`, from outside."""

    @pytest.fixture
    def made(self, tmp_path):
        (tmp_path / "made").mkdir()
        with self.files(tmp_path / "made", CONTENTS) as files:
            yield files

    def test_names_are_sorted(self, made):
        assert list(made.names()) == sorted(CONTENTS)

    def test_facts_are_name_and_size_and_stay_while_nothing_changes(self, made):
        for name, content in CONTENTS.items():
            facts = made.facts(name)
            assert (facts.name, facts.size) == (name, len(content))
            assert made.facts(name) == facts

    def test_the_place_and_the_name_can_be_shown(self, made):
        assert made.place.isprintable()
        assert made.checkpoint_name
        assert made.checkpoint_name.isprintable()
        assert "/" not in made.checkpoint_name

    @pytest.mark.parametrize("name", ["none", "", "../config.json", "config.json/x"])
    def test_a_file_that_is_not_there_is_an_error_that_names_it(self, made, name):
        with pytest.raises(CheckpointError) as error:
            made.facts(name)
        assert error.value.where == name

    def test_a_file_that_is_gone_since_is_no_fault_of_the_checkpoint(self, made):
        with pytest.raises(OutputError, match="^gone: can no longer be read: "):
            made.read(FileFacts("gone", 1, "1"), 0, 1)
        with pytest.raises(OutputError, match="^gone: can no longer be read: "):
            made.check_unchanged([FileFacts("gone", 1, "1")])

    @pytest.mark.parametrize(
        ("start", "stop"), [(0, 300_000), (0, 1), (1, 2), (299_999, 300_000), (65_535, 131_073), (7, 7), (0, 0)]
    )
    def test_any_range_is_read_into_any_kind_of_buffer(self, made, start, stop):
        file, expected = made.facts(SHARD), LARGE[start:stop]
        for buffer in (bytearray(stop - start), memoryview(bytearray(stop - start)), np.zeros(stop - start, np.uint8)):
            made.readinto(file, start, buffer)
            assert bytes(buffer) == expected
        assert made.read(file, start, stop - start).tobytes() == expected

    def test_an_array_of_any_shape_and_dtype_is_filled(self, made):
        array = np.zeros((3, 5), "<u4")
        made.readinto(made.facts(SHARD), 4, array)
        assert array.tobytes() == LARGE[4:64]

    def test_only_the_buffer_is_written(self, made):
        whole = np.zeros(12, np.uint8)
        made.readinto(made.facts(SHARD), 100, whole[4:8])
        assert whole.tobytes() == bytes(4) + LARGE[100:104] + bytes(4)

    def test_an_empty_file_has_no_bytes_to_read(self, made):
        assert made.read(made.facts("empty"), 0, 0).size == 0

    @pytest.mark.parametrize(("start", "nbytes"), [(0, 300_001), (299_999, 2), (300_000, 1), (10**9, 1)])
    def test_reading_past_the_end_is_an_error_that_names_the_file(self, made, start, nbytes):
        with pytest.raises(ChangedError, match=rf"^{SHARD}: changed or truncated .* expected 300,000 bytes"):
            made.read(made.facts(SHARD), start, nbytes)

    def test_unchanged_files_pass_the_check(self, made):
        made.check_unchanged([made.facts(name) for name in CONTENTS])

    @pytest.mark.parametrize("content", [LARGE[:-1], LARGE + b"1", LARGE[::-1]])
    def test_a_changed_file_is_noticed(self, made, content):
        before = [made.facts(name) for name in CONTENTS]
        made.read(made.facts(SHARD), 0, 10)
        self.change(made, SHARD, content)
        assert made.facts(SHARD) != before[1]
        with pytest.raises(ChangedError, match="changed or truncated while it was read"):
            made.check_unchanged(before)
        made.close()
        with pytest.raises(ChangedError, match="changed or truncated while it was read"):
            made.read(before[1], 0, 10)

    def test_a_changed_file_can_be_read_as_it_is_now(self, made):
        made.read(made.facts(SHARD), 0, 10)
        self.change(made, SHARD, LARGE[::-1])
        assert made.read(made.facts(SHARD), 0, 10).tobytes() == LARGE[::-1][:10]

    def test_threads_read_the_same_bytes(self, made):
        file, wrong = made.facts(SHARD), []

        def read(seed: int) -> None:
            for start in np.random.default_rng(seed).integers(0, 299_000, 50).tolist():
                if made.read(file, start, 1000).tobytes() != LARGE[start : start + 1000]:
                    wrong.append(start)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_pickled_it_reads_the_same_bytes(self, made):
        file = made.facts(SHARD)
        made.read(file, 0, 10)
        with pickle.loads(pickle.dumps(made)) as other:
            assert other.read(file, 5, 10).tobytes() == LARGE[5:15]
            assert (other.place, other.checkpoint_name) == (made.place, made.checkpoint_name)
            assert list(other.names()) == list(made.names())

    def test_closed_it_can_be_read_again_and_closed_again(self, made):
        file = made.facts(SHARD)
        made.read(file, 0, 10)
        made.close()
        made.close()
        assert made.read(file, 5, 10).tobytes() == LARGE[5:15]

    def test_its_place_leads_back_to_it(self, made):
        assert find_files(made) is made
        with find_files(made.place) as found:
            assert type(found) is type(made)
            assert found.read(made.facts("config.json"), 0, len(SMALL)).tobytes() == SMALL

    def test_files_can_be_named_by_their_number(self, made):
        read, buffer = made.by_number([made.facts("config.json"), made.facts(SHARD)]), bytearray(4)
        read(1, 2, buffer)
        assert buffer == LARGE[2:6]
