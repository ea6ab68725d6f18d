"""Which node of a cluster this process works on."""

_name = ""


def here() -> str:
    """The node's name; "" in a process that works for an executor of this machine alone."""
    return _name


def be_at(name: str) -> None:
    """Says so, in a worker of a cluster."""
    global _name  # noqa: PLW0603 - a fact of the process
    _name = name
