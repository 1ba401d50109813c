"""The envelope, against the official component runtime's own conventions."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputError
from runtime.message import (
    Cipher,
    Ids,
    carried,
    decode_body,
    decode_ids,
    encode_body,
    encode_headers,
)

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
_u64 = st.integers(1, 2**64 - 1)


@given(_json)
def test_body_round_trip(body: Any) -> None:
    """Whatever JSON can hold comes back from the wire."""
    assert decode_body(encode_body({"body": body}))["body"] == body


@given(_json, st.sampled_from([1, 2]))
def test_sealed_body_round_trip(body: Any, protocol: int) -> None:
    """The same through the cipher, in both protocols."""
    cipher = Cipher("secret", "0123456789abcdef", protocol=protocol)
    assert decode_body(encode_body({"body": body}, cipher), cipher)["body"] == body


def test_cipher_agrees_with_openssl() -> None:
    """The bytes are those of AES-256-CBC with SHA-256 of the password, as OpenSSL makes them."""
    key = hashlib.sha256(b"secret").hexdigest()
    vector = b"0123456789abcdef"
    sealed = subprocess.run(
        ["openssl", "enc", "-aes-256-cbc", "-K", key, "-iv", vector.hex()],
        input=b'{"body":1}',
        capture_output=True,
        check=True,
    ).stdout
    assert Cipher("secret", vector.decode()).encrypt(b'{"body":1}') == base64.b64encode(sealed)


def test_wrong_password_is_an_error() -> None:
    """A message sealed with another password is refused, not misread."""
    sealed = Cipher("one", "0123456789abcdef").encrypt(b'{"body": 1}')
    with pytest.raises(ValueError, match=r"another password|whole number"):
        Cipher("two", "0123456789abcdef").decrypt(sealed)


@pytest.mark.parametrize(("vector", "protocol"), [("short", 1), ("0123456789abcdef", 3)])
def test_cipher_refuses_bad_settings(vector: str, protocol: int) -> None:
    """A vector of another length and an unknown protocol are refused before any message."""
    with pytest.raises(InputError):
        Cipher("secret", vector, protocol=protocol)


def test_body_has_what_components_rely_on() -> None:
    """Members that a sender left out are there, empty."""
    assert decode_body(b"{}") == {"body": {}, "headers": {}, "attachments": {}}


@pytest.mark.parametrize("wire", [b"[1]", b"{", b"\xff\xfe", b"null"])
def test_what_is_no_message(wire: bytes) -> None:
    """Anything but a JSON object is a ValueError."""
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # json's own texts differ
        decode_body(wire)
    assert str(raised.value)


@given(_u64, _u64, st.integers(0, 2**64 - 1))
def test_ids_round_trip(trace: int, message: int, parent: int) -> None:
    """Ids survive the headers; no parent is no header."""
    ids = Ids(trace, message, parent)
    headers = encode_headers(ids, {})
    assert decode_ids(headers) == ids
    assert ("parentMessageId" in headers) == bool(parent)


def test_missing_id_is_named() -> None:
    """The error says which header is missing."""
    with pytest.raises(ValueError, match="threadId"):
        decode_ids({"messageId": "1"})


def test_only_meta_and_reply_are_carried() -> None:
    """A step hands on x-eio-meta-* and reply_to, nothing else."""
    headers = {"x-eio-meta-a": "1", "reply_to": "q", "messageId": "1", "other": "2"}
    assert carried(headers) == {"x-eio-meta-a": "1", "reply_to": "q"}
