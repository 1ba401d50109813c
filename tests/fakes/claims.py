"""The claims of a synthetic run, as ``run.json`` lists them."""

from __future__ import annotations

from typing import Any


def claim(
    number: str,
    statement: str,
    metric: str,
    scenario: str,
    limit: tuple[float, str] | None = None,
    *,
    needs_containers: bool = False,
    **parameters: Any,
) -> dict[str, Any]:
    """One claim; ``limit`` is an upper bound and its unit."""
    target = None
    if limit is not None:
        target = {"metric": metric, "limit": limit[0], "unit": limit[1], "upper": True}
    return {
        "id": number, "statement": statement, "metric": metric, "scenario": scenario,
        "needs_containers": needs_containers, "parameters": parameters, "target": target,
    }  # fmt: skip


CLAIMS = [
    claim("S1", "Each component runs inside its own Docker container.",
          "distinct_step_containers", "realtime", needs_containers=True),
    claim("S2", "Containers are connected only through a message queue.",
          "undeclared_connections", "realtime", (0.0, "connections"), needs_containers=True),
    claim("S3", "There are exactly two flow types: ordinary and realtime.",
          "flow_types", "realtime"),
    claim("S4", "Ordinary: the containers of a flow start one after another, first to last.",
          "ordinary_start_order", "ordinary", needs_containers=True),
    claim("S5", "Ordinary: each container is stopped after use before the next one starts.",
          "ordinary_max_alive", "ordinary", (1.0, "containers"), needs_containers=True),
    claim("S6", "Two components with a data mapper between them are three containers.",
          "container_count", "realtime", (3.0, "containers"), needs_containers=True),
    claim("S7", "An ordinary execution takes 1 to 3 minutes.",
          "execution_s", "ordinary", (180.0, "s")),
    claim("S8", "Ordinary flows are less resource-intensive.",
          "resource_ratio", "ordinary", (1.0, "x"), at_rate_hz=1 / 60),
    claim("S9", "Realtime: containers start once and never stop.",
          "kept_containers", "realtime", needs_containers=True),
    claim("S10", "Realtime executions take less than a second.",
          "end_to_end_ms", "realtime", (1000.0, "ms"), quantile=0.99),
    claim("S11", "Communication between containers takes less than 15 ms on average.",
          "hop_mean_ms", "realtime", (15.0, "ms")),
    claim("S12", "Platform overhead of a flow of N containers is (N-1) x 15 ms on average.",
          "overhead_per_hop_ms", "length", (15.0, "ms")),
    claim("S13", "An execution takes 100 to 400 ms, depending on data volume and API time.",
          "execution_band_ms", "volume-and-api", (400.0, "ms")),
    claim("S14", "Every flow can be switched to realtime (and back).", "both_modes", "realtime"),
    claim("S15", "A realtime flow uses the component revision that is newest when it starts.",
          "not_measured", ""),
    claim("S19", "The first message after a start is slower: the warm-up.",
          "warm_up_s", "warmup", (60.0, "s")),
    claim("S20", "All messages after the warm-up are fast.",
          "warm_end_to_end_max_ms", "realtime", (1000.0, "ms")),
    claim("S22", "A realtime flow runs until it is stopped.",
          "uptime_s", "realtime", needed_s=300.0),
]  # fmt: skip
