"""Loads a component's file and gives its ``process`` the context that the platform promises."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from runtime.errors import ComponentError

Emit = Callable[[str, Any], None]
HOOKS = ("startup", "init", "shutdown")


class Context:
    """What ``process`` may use beside its message: ``emit``, ``logger``, ``variables``."""

    __slots__ = ("_emit", "logger", "variables")

    def __init__(self, emit: Emit, logger: logging.Logger, variables: Mapping[str, str]) -> None:
        self._emit = emit
        self.logger = logger
        self.variables = variables

    def emit(self, event: str, payload: Any = None) -> None:
        """Send ``data`` to the next step, report an ``error``, say ``end``; and what is rarer.

        ``rebound`` sends the input back to this step, for later; ``snapshot`` and
        ``updateSnapshot`` keep a small state; ``httpReply`` answers who waits at the webhook. Any
        thread may emit, also when ``process`` has returned. Raises ComponentError for an event that
        this platform does not have, or not then; MessageTooLarge for what is over a limit.
        """
        self._emit(event, payload)


class Loaded(NamedTuple):
    """A component's functions. ``process`` takes message, config, snapshot and context.

    ``hooks`` has those of startup, init and shutdown that there are.
    """

    process: Callable[[dict[str, Any], dict[str, Any], dict[str, Any], Context], Any]
    hooks: Mapping[str, Callable[..., Any]] = {}


def load(root: str, main: str) -> Loaded:
    """Execute the component's main file, adapt its ``process``, find its hooks.

    ``process(msg, cfg, snapshot)`` and ``process(msg, cfg, snapshot, context)`` are both accepted.
    Raises ComponentError when the file is missing or defines no such function.
    """
    path = os.path.join(root, main)
    spec = importlib.util.spec_from_file_location("component_main", path)
    if spec is None or spec.loader is None or not os.path.isfile(path):
        raise ComponentError(
            "the component's main file is not there",
            where=path,
            remedy="Name an existing .py file in component.json",
        )
    # A component may import its own neighbours.
    sys.path.insert(0, os.path.dirname(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules["component_main"] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ComponentError(
            f"the component's file cannot be executed: {type(error).__name__}: {error}",
            where=path,
            remedy="Run it by itself with the flow's Python to see the whole error",
        ) from error
    process = getattr(module, "process", None)
    code = getattr(process, "__code__", None)
    if process is None or code is None or code.co_argcount not in (3, 4):
        raise ComponentError(
            "no function process(msg, cfg, snapshot) or process(msg, cfg, snapshot, context)",
            where=path,
            remedy="Define it at the top level of the file",
        )
    hooks = {name: hook for name in HOOKS if callable(hook := getattr(module, name, None))}
    if code.co_argcount == 4:
        return Loaded(process, hooks)
    return Loaded(lambda msg, cfg, snapshot, _context: process(msg, cfg, snapshot), hooks)
