"""GET /_local/alarms tells the alarms' states; POST evaluates them now, with all metrics so far."""

import re
from collections.abc import Callable

from local.alarms.alarms import Alarms
from local.api import Response, Route, json_response

PATH = "/_local/alarms"


def alarm_routes(
    alarms: Alarms, collect: Callable[[], object], now: Callable[[], float]
) -> list[Route]:
    """`collect` puts to CloudWatch what still waits; `now` is the services' clock."""

    def show(*_: object) -> Response:
        return json_response({"now": now(), "alarms": alarms.states()})

    def evaluate(*_: object) -> Response:
        collect()
        return json_response({"now": now(), "alarms": alarms.evaluate()})

    path = re.compile(PATH)
    return [Route("GET", path, show), Route("POST", path, evaluate)]
