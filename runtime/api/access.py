"""Who may call the API: its operator, and each flow for what is its own.

Components get credentials in their environment. Those open what the official component runtime
calls, and the flow's webhook; not the operations, with which a component could run any code.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

OPERATOR = "operator"
_FLOW_USER = "flow."
"""No flow's name has a dot, so that none can be taken for the operator."""


@dataclass(frozen=True, slots=True)
class Access:
    """The credentials of one platform; both secrets end with it."""

    password: str
    flow_secret: str

    @classmethod
    def new(cls) -> Access:
        """Credentials that nobody knows yet."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24))

    def of_flow(self, flow: str) -> tuple[str, str]:
        """User and password that a flow's own components are given."""
        digest = hmac.new(self.flow_secret.encode(), flow.encode(), hashlib.sha256).hexdigest()
        return f"{_FLOW_USER}{flow}", digest

    def is_operator(self, user: str, password: str) -> bool:
        """Whether these are the operator's."""
        return _same(user, OPERATOR) & _same(password, self.password)

    def is_flow(self, user: str, password: str, flow: str) -> bool:
        """Whether these are the flow's own."""
        expected_user, expected_password = self.of_flow(flow)
        return _same(user, expected_user) & _same(password, expected_password)


def _same(one: str, other: str) -> bool:
    # The time it takes must not say how much of it is right.
    return hmac.compare_digest(one.encode(), other.encode())
