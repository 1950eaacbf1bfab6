"""The AWS query protocol: form fields in, XML out.

https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4
from xml.sax.saxutils import escape

from moto.core.model import ServiceModel
from moto.core.serialize import QuerySerializer
from moto.core.utils import get_service_model

from local.api import ApiError, Response

_log = logging.getLogger(__name__)

QueryOperation = Callable[[dict[str, Any]], dict[str, Any]]


class QueryApi:
    """A service's operations, answered in the shapes that botocore has of it."""

    def __init__(self, service: str, operations: Mapping[str, QueryOperation]) -> None:
        self._service = service
        self._operations = operations
        self._model: ServiceModel = get_service_model(service)

    def answer(self, body: bytes) -> Response:
        """One call; an ApiError becomes the protocol's error."""
        form = {name: values[0] for name, values in parse_qs(body.decode(), True).items()}
        action = form.pop("Action", "")
        form.pop("Version", None)
        try:
            result = self._operation(action)(_unflattened(form))
            serialized = QuerySerializer(self._model.operation_model(action)).serialize(result)
        except ApiError as error:
            return self._refusal(error)
        except Exception:  # noqa: BLE001 - a bug of ours must reach the client as a fault
            _log.exception("the local cloud failed in %s %s", self._service, action)
            return self._refusal(
                ApiError("InternalFailure", f"{action}: see the local cloud's log", 500)
            )
        return Response(200, {"Content-Type": "text/xml"}, serialized["body"].encode())

    def _operation(self, action: str) -> QueryOperation:
        if action not in self._operations:
            raise ApiError("InvalidAction", f"the local cloud has no {self._service} {action}")
        return self._operations[action]

    def _refusal(self, error: ApiError) -> Response:
        text = (
            f'<ErrorResponse xmlns="{self._model.metadata["xmlNamespace"]}"><Error>'
            f"<Type>Sender</Type><Code>{error.code}</Code><Message>{escape(error.message)}"
            f"</Message></Error><RequestId>{uuid4()}</RequestId></ErrorResponse>"
        )
        return Response(error.status, {"Content-Type": "text/xml"}, text.encode())


def _unflattened(form: Mapping[str, str]) -> dict[str, Any]:
    """The members of a query request, `Parameters.member.1.ParameterKey` and so on, as a tree."""
    tree: dict[str, Any] = {}
    for name, value in form.items():
        *path, last = name.split(".")
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node[last] = value
    return {name: _listed(value) for name, value in tree.items()}


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if set(node) == {"member"}:
        members = node["member"]
        return [_listed(members[key]) for key in sorted(members, key=int)]
    return {name: _listed(value) for name, value in node.items()}
