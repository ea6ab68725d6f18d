"""The manual page, made of the command line's own arguments, which need nothing but Python.

python docs/manual.py FILE    writes deepgguf.1; the build of a wheel does so (CMakeLists.txt)
"""

import os
import sys
from pathlib import Path

from argparse_manpage.manpage import Manpage

sys.dont_write_bytecode = True  # a wheel would have it too
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from deepgguf.cli.arguments import command_line  # noqa: E402 - found by the line above
from deepgguf.version import __version__  # noqa: E402

if __name__ == "__main__":
    os.environ["COLUMNS"] = "70"  # of a page of 80, which indents
    page = Manpage(command_line(), format="single-commands-section")
    page.source, page.manual, page.description = (
        f"deepgguf {__version__}",
        "User Commands",
        "DeepSeek checkpoints to GGUF",
    )
    Path(sys.argv[1]).write_text(str(page))
