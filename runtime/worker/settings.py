"""Reads a worker's environment.

Variables that the official component runtime knows keep its names (``ELASTICIO_...``), so that one
environment serves both; what only hopbench needs is ``HOPBENCH_...``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from runtime.errors import InputError
from runtime.message import REBOUND_DELAY_MS, REBOUND_LIMIT, SIZE_LIMIT_BYTES

RETRY_DELAY_MS, RETRY_LONGEST_MS = 100, 300_000
HOOK_TIMEOUT_S = 60


class Settings(NamedTuple):
    """All that a worker is told.

    ``one_shot``: handle one message, then end. An empty ``data_key``: the last step, whose data
    goes nowhere. ``input_key`` leads to this step's own queue, ``snapshot_key`` to where the
    platform collects snapshots; empty: nobody does. ``snapshot_file`` has the one to begin with. A
    refused publish is tried again after ``retry_delay_ms``, which doubles up to
    ``retry_longest_ms``, ``retry_attempts`` times (None: for ever). ``reads_passthrough``:
    ``process`` sees what earlier steps emitted; ``carries_passthrough``: a later step does.
    ``runs_startup``: run the startup hook before consuming, and leave its result in the file
    ``startup_state``; without one, this worker runs the shutdown hook, too, when it ends.
    ``runs_shutdown``: run the shutdown hook with that file's content, and nothing else.
    """

    broker_url: str
    flow: str
    step: str
    step_index: int
    component_root: str
    main: str
    function: str
    config: dict[str, Any]
    variables: dict[str, str]
    queue: str
    exchange: str
    data_key: str
    error_key: str
    prefetch: int
    persistent: bool
    size_limit_bytes: int
    crypto_password: str
    crypto_vector: str
    one_shot: bool
    inject_delays: bool
    spool: str
    log_level: str
    input_key: str
    snapshot_key: str
    snapshot_file: str
    retry_delay_ms: int
    retry_longest_ms: int
    retry_attempts: int | None
    rebound_delay_ms: int
    rebound_limit: int
    reads_passthrough: bool
    carries_passthrough: bool
    hook_timeout_s: int
    runs_startup: bool
    runs_shutdown: bool
    startup_state: str


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Check and convert the environment. Raises InputError that names every variable amiss."""
    problems: list[str] = []

    def required(name: str) -> str:
        value = environment.get(name, "")
        if not value:
            problems.append(f"{name} is missing")
        return value

    def number(name: str, default: int, least: int = 0) -> int:
        text = environment.get(name, "")
        try:
            value = int(text) if text else default
        except ValueError:
            problems.append(f"{name} is {text!r}, not a whole number")
            return default
        if value < least:
            problems.append(f"{name} is {value}, and must be at least {least}")
        return value

    def attempts(name: str) -> int | None:
        endless = environment.get(name, "") in {"", "Infinity"}
        return None if endless else number(name, 0)

    def flag(name: str, yes: str = "true") -> bool:
        return environment.get(name, "") == yes

    def mapping(name: str) -> dict[str, Any]:
        text = environment.get(name, "") or "{}"
        try:
            value = json.loads(text)
        except ValueError as error:
            problems.append(f"{name} is not JSON: {error}")
            return {}
        if not isinstance(value, dict):
            problems.append(f"{name} is not a JSON object")
            return {}
        return value

    settings = Settings(
        broker_url=required("ELASTICIO_AMQP_URI"),
        flow=required("ELASTICIO_FLOW_ID"),
        step=required("ELASTICIO_STEP_ID"),
        step_index=number("HOPBENCH_STEP_INDEX", 0),
        component_root=required("HOPBENCH_COMPONENT"),
        main=required("HOPBENCH_MAIN"),
        function=required("ELASTICIO_FUNCTION"),
        config=mapping("HOPBENCH_STEP_CONFIG"),
        variables=mapping("HOPBENCH_VARIABLES"),
        queue=required("ELASTICIO_LISTEN_MESSAGES_ON"),
        exchange=required("ELASTICIO_PUBLISH_MESSAGES_TO"),
        data_key=environment.get("ELASTICIO_DATA_ROUTING_KEY", ""),
        error_key=required("ELASTICIO_ERROR_ROUTING_KEY"),
        prefetch=number("ELASTICIO_RABBITMQ_PREFETCH_SAILOR", 1),
        persistent=flag("ELASTICIO_AMQP_PERSISTENT_MESSAGES"),
        size_limit_bytes=number("ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT", SIZE_LIMIT_BYTES),
        crypto_password=environment.get("ELASTICIO_MESSAGE_CRYPTO_PASSWORD", ""),
        crypto_vector=environment.get("ELASTICIO_MESSAGE_CRYPTO_IV", ""),
        one_shot=flag("HOPBENCH_ONE_SHOT", "1"),
        inject_delays=flag("HOPBENCH_INJECT_DELAYS", "1"),
        spool=environment.get("HOPBENCH_SPOOL", ""),
        log_level=environment.get("LOG_LEVEL", "WARNING"),
        input_key=environment.get("HOPBENCH_INPUT_KEY", ""),
        snapshot_key=environment.get("ELASTICIO_SNAPSHOT_ROUTING_KEY", ""),
        snapshot_file=environment.get("HOPBENCH_SNAPSHOT_FILE", ""),
        retry_delay_ms=number("ELASTICIO_AMQP_PUBLISH_RETRY_DELAY", RETRY_DELAY_MS, 1),
        retry_longest_ms=number("ELASTICIO_AMQP_PUBLISH_MAX_RETRY_DELAY", RETRY_LONGEST_MS, 1),
        retry_attempts=attempts("ELASTICIO_AMQP_PUBLISH_RETRY_ATTEMPTS"),
        rebound_delay_ms=number("ELASTICIO_REBOUND_INITIAL_EXPIRATION", REBOUND_DELAY_MS, 1),
        rebound_limit=number("ELASTICIO_REBOUND_LIMIT", REBOUND_LIMIT),
        reads_passthrough=flag("HOPBENCH_PASSTHROUGH", "1"),
        carries_passthrough=flag("HOPBENCH_CARRY_PASSTHROUGH", "1"),
        hook_timeout_s=number("HOPBENCH_HOOK_TIMEOUT_S", HOOK_TIMEOUT_S, 1),
        runs_startup=flag("ELASTICIO_STARTUP_REQUIRED"),
        runs_shutdown=flag("ELASTICIO_HOOK_SHUTDOWN"),
        startup_state=environment.get("HOPBENCH_STARTUP_STATE", ""),
    )
    if problems:
        raise InputError(
            "; ".join(problems), where="worker environment", remedy="Start it through a launcher"
        )
    return settings
