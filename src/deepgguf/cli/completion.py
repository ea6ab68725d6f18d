"""`deepgguf completion`: a script for a shell, made of the command line's own arguments by shtab."""

import argparse
from collections.abc import Iterator

from deepgguf.cli.output import to_stdout

SHELLS = ("bash", "zsh", "fish")

_FILES = {"FILE", "FILE.gguf", "IN.gguf", "SRC", "OUT"}
_FOLDERS = {"DIR"}


def completion(options: argparse.Namespace) -> None:
    """`deepgguf completion`."""
    import shtab

    parser = options.command_line()
    for action in _actions(parser):
        if action.metavar in _FILES | _FOLDERS and not action.choices:
            action.complete = shtab.FILE if action.metavar in _FILES else shtab.DIRECTORY
    to_stdout(shtab.complete(parser, shell=options.shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of every command."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
