"""Checks that what JSON holds has the shape of a record: dataclasses, tuples, numbers, texts."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any

from runtime.errors import FormatError

_LARGEST = 2**63 - 1
"""What a stored number can be: larger ones do not fit the integers that they are computed with."""


@functools.cache
def _hints(record: type) -> Mapping[str, Any]:
    return typing.get_type_hints(record)


def shaped(kind: Any, value: object, file: str, key: str) -> object:
    """``value`` as ``kind``; keys that this version does not know are left out.

    Raises FormatError naming ``file`` and the key.
    """
    if isinstance(kind, types.UnionType):
        inner = next(k for k in typing.get_args(kind) if k is not types.NoneType)
        return None if value is None else shaped(inner, value, file, key)
    if dataclasses.is_dataclass(kind):
        return _record(typing.cast("type", kind), value, file, key)
    origin = typing.get_origin(kind)
    if origin is tuple:
        if isinstance(value, list):
            inner = typing.get_args(kind)[0]
            return tuple(shaped(inner, v, file, f"{key}[{i}]") for i, v in enumerate(value))
    elif origin is Mapping:
        if isinstance(value, dict):
            return value
    elif kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if abs(value) > _LARGEST:
                raise _damaged(file, f"{key} is too large")
            return float(value)
    elif kind is int and isinstance(value, int) and abs(value) > _LARGEST:
        raise _damaged(file, f"{key} is too large")
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    wanted = getattr(kind, "__name__", str(kind)) if origin is None else str(origin.__name__)
    raise _damaged(file, f"{key or 'the file'} is {value!r:.60}, not of type {wanted}")


def _record(kind: type, value: object, file: str, key: str) -> object:
    if not isinstance(value, dict):
        raise _damaged(file, f"{key or 'the file'} is {value!r:.60}, not an object")
    prefix = f"{key}." if key else ""
    fields = {}
    for name, hint in _hints(kind).items():
        if name not in value and not isinstance(hint, types.UnionType):
            raise _damaged(file, f"{prefix}{name} is missing")
        fields[name] = shaped(hint, value.get(name), file, prefix + name)
    return kind(**fields)


def _damaged(file: str, what: str) -> FormatError:
    return FormatError(
        f"damaged: {what}", where=file, remedy="Measure again, or restore the file from a copy"
    )
