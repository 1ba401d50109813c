"""A body's encryption. Floor: AES-256-CBC by the cryptography library, with nothing around it."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.paired import compare_calls
from runtime.message import Cipher

BODY = b"x" * 1024
VECTOR = "0123456789abcdef"
BARE = Primitive(algorithms.AES(bytes(32)), modes.CBC(VECTOR.encode()))


def test_encrypt(benchmark: BenchmarkFixture) -> None:
    """1 KiB, padded, sealed and encoded."""
    cipher = Cipher("password", VECTOR)

    def bare() -> bytes:
        encryptor = BARE.encryptor()
        return encryptor.update(BODY) + encryptor.finalize()

    comparison = compare_calls(lambda: cipher.encrypt(BODY), bare)
    benchmark.extra_info.update(comparison.document())
    assert cipher.decrypt(benchmark(cipher.encrypt, BODY)) == BODY


def test_decrypt(benchmark: BenchmarkFixture) -> None:
    """The way back."""
    cipher = Cipher("password", VECTOR)
    sealed = cipher.encrypt(BODY)

    def bare() -> bytes:
        decryptor = BARE.decryptor()
        return decryptor.update(BODY) + decryptor.finalize()

    comparison = compare_calls(lambda: cipher.decrypt(sealed), bare)
    benchmark.extra_info.update(comparison.document())
    assert benchmark(cipher.decrypt, sealed) == BODY
