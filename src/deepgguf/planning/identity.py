"""The hash of what decides the bytes: target, types, keys, sources (name and size), importance; not jobs or times."""

import xxhash

from deepgguf.formats.json_bytes import encode_json
from deepgguf.planning.schema import Plan, PlannedFile


def file_identity(plan: Plan, file: PlannedFile) -> str:
    """XXH3-128, in hexadecimal, over everything that decides the bytes of `file` and the bounds of its pieces."""
    digest = xxhash.xxh3_128()
    sources = [(source.name, source.size) for source in plan.sources]
    importance = plan.importance.digest if plan.importance else ""
    head = (plan.schema, plan.target, plan.architecture, plan.type, sources, importance, plan.piece_weights)
    for value in (head, file.keys, file.tensors):
        digest.update(encode_json(value))
    return digest.hexdigest()
