"""Reads a worker's environment.

Variables that the official component runtime knows keep its names (``ELASTICIO_...``), so that one
environment serves both; what only hopbench needs is ``HOPBENCH_...``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from runtime.errors import InputError
from runtime.message import SIZE_LIMIT_BYTES


class Settings(NamedTuple):
    """All that a worker is told.

    ``one_shot``: handle one message, then end. An empty ``data_key``: the last step, whose data
    goes nowhere.
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


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Check and convert the environment. Raises InputError that names every variable amiss."""
    problems: list[str] = []

    def required(name: str) -> str:
        value = environment.get(name, "")
        if not value:
            problems.append(f"{name} is missing")
        return value

    def number(name: str, default: int) -> int:
        text = environment.get(name, "")
        try:
            return int(text) if text else default
        except ValueError:
            problems.append(f"{name} is {text!r}, not a whole number")
            return default

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
        persistent=environment.get("ELASTICIO_AMQP_PERSISTENT_MESSAGES", "") == "true",
        size_limit_bytes=number("ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT", SIZE_LIMIT_BYTES),
        crypto_password=environment.get("ELASTICIO_MESSAGE_CRYPTO_PASSWORD", ""),
        crypto_vector=environment.get("ELASTICIO_MESSAGE_CRYPTO_IV", ""),
        one_shot=environment.get("HOPBENCH_ONE_SHOT", "") == "1",
        inject_delays=environment.get("HOPBENCH_INJECT_DELAYS", "") == "1",
        spool=environment.get("HOPBENCH_SPOOL", ""),
        log_level=environment.get("LOG_LEVEL", "WARNING"),
    )
    if problems:
        raise InputError(
            "; ".join(problems), where="worker environment", remedy="Start it through a launcher"
        )
    return settings
