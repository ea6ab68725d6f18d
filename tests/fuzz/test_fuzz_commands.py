"""Two hundred random commands, among damaged files and odd environments: see fuzz_commands.py, which does any number."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("fuzz_commands.py")


def test_no_command_ends_in_any_way_that_is_not_documented(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--tries", "200", "--seed", "11", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 kinds of failure in 0 tries" in done.stdout
