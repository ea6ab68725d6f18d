"""The command line: arguments in, calls of the library, tables and JSON out. Everything heavy is imported when used."""

from deepgguf.cli.program import main

__all__ = ["main"]
