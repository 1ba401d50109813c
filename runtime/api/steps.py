"""What components ask the platform for, by the paths of the official component runtime.

Its client: elasticio-rest-node (resources/tasks.js); its hooks: elasticio-sailor-nodejs
(lib/hooksData.js).
"""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, jsonify, request

from runtime.api.reading import json_body, known
from runtime.api.refusals import refuse
from runtime.errors import InputError
from runtime.store import Store


def steps_blueprint(store: Store) -> Blueprint:
    """The routes, to be registered with an app."""
    blueprint = Blueprint("steps", __name__)

    @blueprint.get("/v1/tasks/<flow>/steps/<step>")
    def step_of(flow: str, step: str) -> Response:
        """A step of the version that runs, or will: its configuration and its snapshot."""
        entry = known(store, flow)
        number = entry.running or entry.published
        if number is None:
            error = InputError(f"flow {flow!r} has no version", remedy="Publish its draft first")
            refuse(error, 404)
        definition = store.flows.version(flow, number).definition
        found = next((one for one in definition.steps if one.id == step), None)
        if found is None:
            there = ", ".join(one.id for one in definition.steps)
            error = InputError(
                f"version {number} of flow {flow!r} has no step {step!r}",
                remedy=f"Its steps are {there}",
            )
            refuse(error, 404)
        return jsonify(
            id=found.id,
            flow=flow,
            version=number,
            comp_id=found.component,
            function=found.function,
            config=dict(found.config),
            variables=dict(definition.variables),
            snapshot=store.snapshots.load(flow, step),
            is_passthrough=found.passthrough,
        )

    path = "/sailor-support/hooks/task/<flow>/startup/data"

    @blueprint.post(path)
    def keep(flow: str) -> tuple[Response, int]:
        """Keep what the startup hook returned; 409 where there is something already."""
        known(store, flow)
        # A hook that returned nothing is posted without a body.
        state = json_body() if request.get_data() else {}
        store.startup.put(flow, state)
        return jsonify(state), HTTPStatus.CREATED

    @blueprint.get(path)
    def kept(flow: str) -> Response:
        """What the startup hook returned, for the shutdown hook."""
        known(store, flow)
        try:
            return jsonify(store.startup.get(flow))
        except InputError as error:
            refuse(error, 404)

    @blueprint.delete(path)
    def drop(flow: str) -> tuple[str, int]:
        """Forget it. Fine where there is none."""
        known(store, flow)
        store.startup.delete(flow)
        return "", HTTPStatus.NO_CONTENT

    return blueprint
