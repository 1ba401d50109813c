"""References to services in a step's configuration: ``${services.ID}`` stands for ``host:port``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_REFERENCE = re.compile(r"\$\{services\.([^{}]*)\}")


def references(value: object) -> Iterator[str]:
    """The ids of the services that a configuration refers to, at any depth."""
    if isinstance(value, str):
        for match in _REFERENCE.finditer(value):
            yield match[1]
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)
