"""Calls a platform's HTTP API, and raises what it refuses as an error of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from bench.flow.place import find, nobody
from runtime.errors import FlowError, HopbenchError

_CONNECT_S, _ANSWER_S = 5.0, 900.0
"""Operations answer when they are done: steps may take minutes to start and to stop."""


class Client:
    """The platform that has a store."""

    def __init__(self, folder: Path) -> None:
        """Find it. Raises InputError where none runs on the store."""
        self._folder = folder
        self._place = find(folder)
        self._session = requests.Session()
        # It is on this machine: no proxy, and no password of a file, is meant for it.
        self._session.trust_env = False
        self._session.auth = (self._place.user, self._place.password)

    def get(self, *path: str, **parameters: object) -> Any:
        """What is at a path; its parts are escaped."""
        return self._call("GET", path, parameters)

    def post(self, *path: str, document: object = None, **parameters: object) -> Any:
        """Do what a path stands for."""
        return self._call("POST", path, parameters, document)

    def put(self, *path: str, document: object, **parameters: object) -> Any:
        """Replace what is at a path."""
        return self._call("PUT", path, parameters, document)

    def _call(
        self,
        method: str,
        path: tuple[str, ...],
        parameters: dict[str, object],
        document: object = None,
    ) -> Any:
        given = {name: str(value) for name, value in parameters.items() if value is not None}
        url = "/".join((self._place.url, *(quote(part, safe="") for part in path)))
        try:
            response = self._session.request(
                method,
                url,
                params=given,
                json=document,
                timeout=(_CONNECT_S, _ANSWER_S),
            )
        except requests.ConnectionError as error:
            raise nobody(self._folder) from error
        except requests.RequestException as error:
            raise FlowError(
                f"the platform does not answer: {error}",
                where=self._place.url,
                remedy="See what `flow serve` prints",
            ) from error
        answer = _json(response)
        if response.ok:
            return answer
        if not isinstance(answer, dict) or "error" not in answer:
            raise FlowError(
                f"answers {response.status_code}, and not as a platform does", where=url
            )
        raise HopbenchError(
            answer["error"], where=answer.get("where", ""), remedy=answer.get("remedy", "")
        )


def _json(response: requests.Response) -> Any:
    try:
        return response.json() if response.content else None
    except requests.JSONDecodeError:
        return response.text
