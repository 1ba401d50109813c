"""The component repository over HTTP: what was deployed, and deploying a folder."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from flask import Blueprint, Response, jsonify

from runtime.api.control import Control
from runtime.api.documents import shown
from runtime.api.reading import member
from runtime.api.refusals import refuse
from runtime.errors import InputError
from runtime.store import Store


def components_blueprint(control: Control, store: Store) -> Blueprint:
    """The routes, to be registered with an app."""
    blueprint = Blueprint("components", __name__, url_prefix="/v1/components")

    @blueprint.get("")
    def components() -> Response:
        """The newest revision of each component."""
        names = store.revisions.components()
        return jsonify([shown(store.revisions.entries(name)[-1]) for name in names])

    @blueprint.post("")
    def deploy() -> tuple[Response, int]:
        """Keep a folder of the platform's own machine; 200 where its content is the newest's."""
        folder = Path(member("folder", str, "the absolute path of a component's folder"))
        if not folder.is_absolute():
            raise InputError(
                "is not an absolute path", where=str(folder), remedy="The platform reads the folder"
            )
        entry = control.deploy(folder)
        return jsonify(shown(entry)), HTTPStatus.CREATED if entry.is_new else HTTPStatus.OK

    @blueprint.get("/<component>")
    def revisions(component: str) -> Response:
        """A component's revisions, oldest first."""
        try:
            return jsonify(shown(store.revisions.entries(component)))
        except InputError as error:
            refuse(error, 404)

    return blueprint
