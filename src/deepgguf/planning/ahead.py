"""How many windows of a source may be read ahead."""

from deepgguf.planning.joint import Planned
from deepgguf.planning.windows import window_bytes

_MEMORY = 512 << 20  # bytes of the windows that are on their way


def windows_ahead(plan: Planned) -> int:
    """As many as the source may have connections, if so many fit into half a gigabyte; else fewer, those it starts with
    at least. 0 for a source that is not read ahead.
    """
    source = plan.source
    return max(source.connections, min(source.most_connections, _MEMORY // window_bytes(plan)))
