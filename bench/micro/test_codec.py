"""A message's way to bytes and back. Floor: the json module alone on the same object."""

from __future__ import annotations

import json

from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.paired import compare_calls
from runtime.message import Ids, decode_body, decode_ids, encode_body, encode_headers

MESSAGE = {"body": {"sequence": 12, "delay_ms": None, "data": "x" * 1024}}
IDS = Ids(trace=1, message=2, parent=3)


def test_encode(benchmark: BenchmarkFixture) -> None:
    """Body of 1 KiB and headers, as they are published."""

    def encode() -> tuple[bytes, dict[str, str | int]]:
        return encode_body(MESSAGE), encode_headers(IDS, {})

    comparison = compare_calls(encode, lambda: json.dumps(MESSAGE).encode())
    benchmark.extra_info.update(comparison.document())
    body, headers = benchmark(encode)
    assert decode_body(body)["body"] == MESSAGE["body"]
    assert decode_ids(headers) == IDS


def test_decode(benchmark: BenchmarkFixture) -> None:
    """Body of 1 KiB and headers, as they were delivered."""
    body, headers = encode_body(MESSAGE), encode_headers(IDS, {})

    def decode() -> tuple[dict[str, object], Ids]:
        return decode_body(body), decode_ids(headers)

    comparison = compare_calls(decode, lambda: json.loads(body))
    benchmark.extra_info.update(comparison.document())
    message, ids = benchmark(decode)
    assert message["body"] == MESSAGE["body"]
    assert ids == IDS
