"""Fields that the contract does not know are kept: numbers in one map, the rest in another.

Nothing is flattened but the container: dotted paths through deep nesting would multiply a payload
of a megabyte into gigabytes. Other objects and arrays are kept as JSON text.
"""

import json
import math

from telemetry_contract.json_text import UnrepresentableNumber, json_of
from telemetry_contract.values import has_surrogates

_LARGEST_EXACT_INTEGER = 2**53


def keep_unknown(
    name: str, value: object, measurements: dict[str, float], attributes: dict[str, str]
) -> None:
    """Add a value to the map that can hold it.

    Numbers that a double holds exactly go to `measurements`; text goes to `attributes` as it is,
    everything else as JSON text. If a name is there already, the first value stays: that happens
    only where a name at the top spells a path (`data.x`), and the payload has both.
    """
    if has_surrogates(name):
        name = json.dumps(name)[1:-1]
    if name in measurements or name in attributes:
        return
    if _is_exact_number(value):
        # _is_exact_number has seen to the type.
        measurements[name] = float(value)  # type: ignore[arg-type]
    elif isinstance(value, str) and not isinstance(value, UnrepresentableNumber):
        attributes[name] = json.dumps(value) if has_surrogates(value) else value
    else:
        attributes[name] = json_of(value)


def _is_exact_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= _LARGEST_EXACT_INTEGER
    return False
