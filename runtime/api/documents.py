"""What the API shows, as JSON: definitions as they could have been written, the rest by field."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from runtime.definitions import definition_document
from runtime.flows import Draft, Version


def shown(value: Any) -> Any:
    """A dataclass, or a collection of them, as JSON holds it."""
    if isinstance(value, Draft | Version):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return shown({**fields, "definition": definition_document(value.definition)})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: shown(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [shown(item) for item in value]
    return value
