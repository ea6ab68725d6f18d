"""What is passed on, without what is not for others: who logs in at an address, and what signs it."""

import re

_ADDRESS = re.compile(r"\w+://[^\s'\"]+")


def without_secrets(text: str) -> str:
    """`text` without what signs an address in it, or logs in there."""
    return _ADDRESS.sub(lambda address: _unsigned(address[0]), text)


def _unsigned(address: str) -> str:
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    bare, question, _ = f"{host.rpartition('@')[2]}{slash}{path}".partition("?")
    return f"{scheme}://{bare}" + ("?…" if question else "")
