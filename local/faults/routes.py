"""Faults over HTTP: GET, POST and DELETE of `/_local/faults`."""

import json
import re
from collections.abc import Mapping
from urllib.parse import unquote

from local.api import Response, Route, json_response
from local.faults.faults import FaultError, Faults


def fault_routes(faults: Faults) -> list[Route]:
    """List them; inject one (its settings as JSON, `kind` among them); clear all, or one."""

    def show(*_: object) -> Response:
        return json_response({"faults": faults.shown()})

    def inject(_match: object, _headers: Mapping[str, str], body: bytes) -> Response:
        try:
            settings = json.loads(body)
            fault = faults.inject(**settings)
        except (ValueError, TypeError) as error:
            raise FaultError(f"a fault is a JSON object with its kind: {error}") from None
        return json_response({"name": fault.name}, 201)

    def clear(match: re.Match[str], _headers: Mapping[str, str], _body: bytes) -> Response:
        return json_response({"cleared": faults.clear(unquote(match["name"] or ""))})

    return [
        Route("GET", re.compile("/_local/faults"), show),
        Route("POST", re.compile("/_local/faults"), inject),
        Route("DELETE", re.compile("/_local/faults(?:/(?P<name>[^/]+))?"), clear),
    ]
