"""Event source mappings as others see them: a resource of a template, and Lambda's API.

Guarantee: an update in place keeps the mapping's identity and position; what AWS replaces (another
stream, another starting position) asks for a new mapping.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-eventsourcemapping.html
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from local.api import ACCOUNT_ID, REGION, ApiError, Response, Route, json_response
from local.deployment.provider import Created, ReplacementNeeded
from local.mapping.event_source_mapping import EventSourceMapping, EventSourceMappings, described
from local.mapping.settings import CREATE_ONLY, PROPERTIES, function_name

_PATH = "/2015-03-31/event-source-mappings"


class EventSourceMappingProvider:
    """AWS::Lambda::EventSourceMapping."""

    resource_type = "AWS::Lambda::EventSourceMapping"
    properties = PROPERTIES

    def __init__(self, mappings: EventSourceMappings) -> None:
        self._mappings = mappings

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        """A mapping has no name: its UUID is its id."""
        return _created(self._mappings.create(properties))

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        """In place, but for what only a new mapping can have."""
        if any(old.get(name) != new.get(name) for name in CREATE_ONLY):
            raise ReplacementNeeded
        mapping = self._mappings.get(physical_id)
        mapping.replace_properties(new)
        return _created(mapping)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        """End the mapping; one that is gone is no error."""
        try:
            self._mappings.delete(physical_id)
        except ApiError as error:
            if error.code != "ResourceNotFoundException":
                raise


def _created(mapping: EventSourceMapping) -> Created:
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:event-source-mapping:{mapping.uuid}"
    return Created(mapping.uuid, {"Id": mapping.uuid, "EventSourceMappingArn": arn})


def mapping_routes(mappings: EventSourceMappings) -> list[Route]:
    """Create, list, get, update and delete, as Lambda's API has them."""

    def create(_match: re.Match[str], _headers: Mapping[str, str], body: bytes) -> Response:
        return json_response(described(mappings.create(_request(body))), 202)

    def list_all(_match: re.Match[str], headers: Mapping[str, str], _body: bytes) -> Response:
        query = {name: values[0] for name, values in parse_qs(headers.get(":query", "")).items()}
        name = query.get("FunctionName")
        found = mappings.find(query.get("EventSourceArn"), function_name(name) if name else None)
        return json_response({"EventSourceMappings": [described(mapping) for mapping in found]})

    def get(match: re.Match[str], _headers: Mapping[str, str], _body: bytes) -> Response:
        return json_response(described(mappings.get(unquote(match["uuid"]))))

    def update(match: re.Match[str], _headers: Mapping[str, str], body: bytes) -> Response:
        mapping = mappings.get(unquote(match["uuid"]))
        mapping.update(_request(body))
        return json_response(described(mapping), 202)

    def delete(match: re.Match[str], _headers: Mapping[str, str], _body: bytes) -> Response:
        return json_response(described(mappings.delete(unquote(match["uuid"]))), 202)

    every, one = re.compile(f"{_PATH}/?"), re.compile(f"{_PATH}/(?P<uuid>[^/]+)")
    return [
        Route("POST", every, create),
        Route("GET", every, list_all),
        Route("GET", one, get),
        Route("PUT", one, update),
        Route("DELETE", one, delete),
    ]


def _request(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        raise ApiError("InvalidRequestContentException", "the request is not JSON") from None
    if not isinstance(request, dict):
        raise ApiError("InvalidRequestContentException", "the request is not a JSON object")
    return request
