"""The envelope: what a message's body and headers look like on the wire.

A body is the JSON object ``{id, body, headers, attachments, passthrough}``; ids travel in the
headers ``messageId``, ``parentMessageId`` and ``threadId``, as the official component runtime has
them, so that its components can run beside ours. With a password the body is AES-256-CBC, key
SHA-256(password), PKCS7, a static initialisation vector of 16 bytes; protocol 1 is base64 of the
ciphertext, protocol 2 the raw bytes (that runtime's lib/encryptor.js). Loaded by every worker.
orjson is used since JSON is on the path of every hop: the standard library's codec costs a message
of 1 KiB 60 us there, a tenth of a bare hop; orjson 8, and 4 ms at start.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from runtime.errors import InputError

SIZE_LIMIT_BYTES = 10 * 1024 * 1024
"""The platform's limit for one outgoing message, as it goes over the wire."""
SNAPSHOT_LIMIT_BYTES = 1024 * 1024
"""The platform's limit for one step's snapshot, as JSON."""
REBOUND_DELAY_MS = 15_000
REBOUND_LIMIT = 20
"""How long a message waits before its step gets it again the first time, and how often that is."""
_LONGEST_REBOUND_MS = 86_400_000
STEP_HEADER = "stepId"
"""Names the step that emitted a message; set where a later step reads what earlier ones emitted."""


class Ids(NamedTuple):
    """Who a message is: its execution, itself, and the message that caused it (0: none)."""

    trace: int
    message: int
    parent: int


class Cipher:
    """AES-256-CBC as the official component runtime uses it. Loads its library on first use."""

    def __init__(self, password: str, vector: str, *, protocol: int = 1) -> None:
        if len(vector.encode()) != 16:
            raise InputError("the initialisation vector must be 16 bytes", remedy="Give 16 bytes")
        if protocol not in (1, 2):
            raise InputError(f"there is no message protocol {protocol}", remedy="Use 1 or 2")
        from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
        from cryptography.hazmat.primitives.ciphers import algorithms, modes

        key = hashlib.sha256(password.encode()).digest()
        self._primitive = Primitive(algorithms.AES(key), modes.CBC(vector.encode()))
        self.protocol = protocol

    def encrypt(self, plain: bytes) -> bytes:
        """Pad, encrypt, and encode as the protocol says."""
        pad = 16 - len(plain) % 16
        encryptor = self._primitive.encryptor()
        sealed = encryptor.update(plain + bytes([pad]) * pad) + encryptor.finalize()
        return base64.b64encode(sealed) if self.protocol == 1 else sealed

    def decrypt(self, sealed: bytes) -> bytes:
        """Undo :meth:`encrypt`. Raises ValueError for what was not sealed with this password."""
        raw = base64.b64decode(sealed, validate=True) if self.protocol == 1 else sealed
        if not raw or len(raw) % 16:
            raise ValueError("the message is not a whole number of cipher blocks")
        decryptor = self._primitive.decryptor()
        plain = decryptor.update(raw) + decryptor.finalize()
        pad = plain[-1]
        if not 1 <= pad <= 16 or plain[-pad:] != bytes([pad]) * pad:
            raise ValueError("the message was sealed with another password or vector")
        return plain[:-pad]


def encode_body(message: Mapping[str, Any], cipher: Cipher | None = None) -> bytes:
    """JSON of a message, sealed where there is a cipher. Raises TypeError for what JSON lacks.

    As in JavaScript, NaN and infinities become null, and whole numbers are limited (to 64 bits).
    """
    body = orjson.dumps(message, option=orjson.OPT_NON_STR_KEYS)
    return cipher.encrypt(body) if cipher is not None else body


def decode_body(body: bytes, cipher: Cipher | None = None) -> dict[str, Any]:
    """The message object, with every member that a component may rely on.

    Raises ValueError when it cannot be opened or is not a JSON object.
    """
    opened = orjson.loads(cipher.decrypt(body) if cipher is not None else body)
    if not isinstance(opened, dict):
        raise ValueError(f"a message must be a JSON object, not {type(opened).__name__}")
    opened.setdefault("body", {})
    opened.setdefault("headers", {})
    opened.setdefault("attachments", {})
    return opened


def encode_headers(ids: Ids, extra: Mapping[str, str | int]) -> dict[str, str | int]:
    """Headers for a message with these ids, on top of what is carried along."""
    headers = dict(extra)
    headers["messageId"] = f"{ids.message:016x}"
    headers["threadId"] = f"{ids.trace:016x}"
    if ids.parent:
        headers["parentMessageId"] = f"{ids.parent:016x}"
    return headers


def decode_ids(headers: Mapping[str, str | int]) -> Ids:
    """The ids of a message. Raises ValueError naming the header that is missing or malformed."""
    try:
        parent = headers.get("parentMessageId")
        return Ids(
            int(headers["threadId"], 16),  # type: ignore[arg-type]  # checked by the except below
            int(headers["messageId"], 16),  # type: ignore[arg-type]
            int(parent, 16) if parent is not None else 0,  # type: ignore[arg-type]
        )
    except KeyError as error:
        raise ValueError(f"the message has no header {error}") from None
    except TypeError:
        raise ValueError("an id in the message's headers is not a string") from None


def rebound_delay_ms(iteration: int, first_ms: int) -> int:
    """How long a message waits before it returns for the ``iteration``-th time (from 1).

    It doubles up to a day: brokers bound how long a message may wait.
    """
    return min(first_ms << (iteration - 1), _LONGEST_REBOUND_MS)


DELAY_HEADER = "x-eio-meta-hopbench-delay"
"""Carried along like all of its kind, so that each step sees it."""


def delay_headers(step: str | None, delay_ms: float | None) -> dict[str, str | int]:
    """Headers that ask a step which injects delays to wait before ``process``; none without one."""
    return {} if step is None or not delay_ms else {DELAY_HEADER: f"{step}={delay_ms}"}


NETWORK_DELAY_HEADER = "x-eio-meta-hopbench-network-delay"
"""Read by the proxy between a step and its broker, and carried along like all of its kind."""


def network_delay_headers(delay_ms: float | None) -> dict[str, str | int]:
    """Headers that ask such a proxy to hold this message back; none without a delay.

    A delay of 0 is said, too: a message that says nothing was forgotten.
    """
    return {} if delay_ms is None else {NETWORK_DELAY_HEADER: f"{delay_ms:g}"}


def carried(headers: Mapping[str, str | int]) -> dict[str, str | int]:
    """Headers that a step hands on: ``x-eio-meta-*`` and ``reply_to``."""
    return {
        key: value
        for key, value in headers.items()
        if key.startswith("x-eio-meta-") or key == "reply_to"
    }
