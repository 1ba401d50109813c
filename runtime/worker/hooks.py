"""Runs a component's lifecycle hooks, each within a limit: one that hangs ends the worker."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import orjson

from runtime.errors import ComponentError

EXIT_HOOK = 6


def run(name: str, hook: Callable[..., Any], *arguments: Any, step: str, limit_s: float) -> Any:
    """Call a hook and return its result; end this process with EXIT_HOOK when it takes too long.

    Raises ComponentError with the hook's own error.
    """
    watch = threading.Timer(limit_s, _end, (name, step, limit_s))
    watch.daemon = True
    watch.start()
    try:
        return hook(*arguments)
    except Exception as error:
        raise ComponentError(
            f"the component's {name} hook failed: {type(error).__name__}: {error}",
            where=f"step {step}",
            remedy="Mend the component",
        ) from error
    finally:
        watch.cancel()


def keep(path: str, state: Any) -> None:
    """Leave what the startup hook returned for who will run the shutdown hook."""
    try:
        content = orjson.dumps(state)
    except TypeError as error:
        raise ComponentError(
            f"what the startup hook returned is no JSON: {error}", where=path
        ) from error
    with open(f"{path}.new", "wb") as file:
        file.write(content)
    os.rename(f"{path}.new", path)


def kept(path: str) -> Any:
    """What the startup hook returned; None where it left nothing."""
    if not path or not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return orjson.loads(file.read())


def _end(name: str, step: str, limit_s: float) -> None:
    print(
        f"hopbench worker: step {step}: the component's {name} hook has not returned within "
        f"{limit_s:g} s; the worker is ended",
        file=sys.stderr,
        flush=True,
    )
    # It hangs: there is nothing that could be taken down in good order.
    os._exit(EXIT_HOOK)
