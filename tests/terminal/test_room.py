from pathlib import Path

from deepgguf.terminal.room import free_disk, free_memory


def test_memory_that_holds_files_is_free(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16000000 kB\nMemFree:          200000 kB\nMemAvailable:   12000000 kB\n")
    assert free_memory(meminfo) == 12_000_000 * 1024


def test_free_memory_is_unknown_where_the_system_does_not_tell(tmp_path: Path) -> None:
    assert free_memory(tmp_path / "nothing") is None
    (tmp_path / "meminfo").write_text("MemTotal: 1 kB\n")
    assert free_memory(tmp_path / "meminfo") is None


def test_the_disk_of_a_folder_that_is_yet_to_be_made_is_that_of_its_parent(tmp_path: Path) -> None:
    there, to_be = free_disk(tmp_path), free_disk(tmp_path / "a" / "b")
    assert abs(there - to_be) < 2**30
