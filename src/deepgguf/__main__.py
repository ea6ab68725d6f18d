"""`python -m deepgguf`."""

import sys

from deepgguf.cli import main

if __name__ == "__main__":
    sys.exit(main())
