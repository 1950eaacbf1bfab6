"""What simulated devices measure: vehicles on the streets of a city, boxes that sense a room.

Guarantee: plausible. A vehicle turns at corners, brakes no harder than a bus, stops, and never
leaps; a box's temperature, humidity and light follow the hours of the day. The same random numbers
and the same moments give the same values.
"""

import math
from random import Random
from typing import Any, Final, Protocol

_CITY: Final = (52.52, 13.405)
_METRES_PER_DEGREE: Final = 111_320
_RADIUS_METRES: Final = 12_000
_BLOCK_METRES: Final = (120.0, 900.0)
_LIMITS_KMH: Final = (30.0, 50.0, 50.0, 80.0)
_ACCELERATION: Final = 1.5  # metres per second, every second; braking too
_STOP_SECONDS: Final = (5.0, 90.0)
_LONGEST_STEP_SECONDS: Final = 5.0
_DAY_SECONDS: Final = 86_400
_WARMEST_HOUR: Final = 15


class Motion(Protocol):
    """What a device measures; asked in the order of time."""

    def values_at(self, epoch_seconds: float) -> dict[str, Any]:
        """The fields of a reading at that moment."""


class Vehicle:
    """Drives about a city block by block."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._north = random.uniform(-0.6, 0.6) * _RADIUS_METRES
        self._east = random.uniform(-0.6, 0.6) * _RADIUS_METRES
        # Streets cross at right angles; each quarter of the city lies at its own angle.
        self._heading = random.uniform(0, math.pi / 2)
        self._metres_per_second = 0.0
        self._to_corner = random.uniform(*_BLOCK_METRES)
        self._limit = random.choice(_LIMITS_KMH) / 3.6
        self._standing_seconds = 0.0
        self._battery = random.uniform(60, 100)
        self._outside = Box(random)
        self._last: float | None = None

    def values_at(self, epoch_seconds: float) -> dict[str, Any]:
        """Position, speed and what else a tracker tells."""
        elapsed = 0.0 if self._last is None else epoch_seconds - self._last
        self._last = epoch_seconds
        while elapsed > 0:
            self._drive(min(elapsed, _LONGEST_STEP_SECONDS))
            elapsed -= _LONGEST_STEP_SECONDS
        climate = self._outside.climate_at(epoch_seconds)
        north, east = self._north / _METRES_PER_DEGREE, self._east / _METRES_PER_DEGREE
        return {
            "latitude": round(_CITY[0] + north, 6),
            "longitude": round(_CITY[1] + east / math.cos(math.radians(_CITY[0])), 6),
            "speed": round(self._metres_per_second * 3.6, 1),
            "status": "moving" if self._metres_per_second > 0.3 else "idle",
            "temperature": climate["temperature"],
            "humidity": climate["humidity"],
            "battery": round(self._battery, 1),
        }

    def _drive(self, seconds: float) -> None:
        self._battery = max(self._battery - 0.0005 * seconds, 5)
        if self._standing_seconds > 0:
            self._standing_seconds -= seconds
            return
        # The speed from which it still comes nearly to rest at the corner, one step from now.
        left = max(self._to_corner - self._metres_per_second * seconds, 0)
        allowed = min(self._limit, max(math.sqrt(_ACCELERATION * left), 1.0))
        change = _ACCELERATION * seconds
        self._metres_per_second += min(max(allowed - self._metres_per_second, -change), change)
        metres = self._metres_per_second * seconds
        self._north += metres * math.cos(self._heading)
        self._east += metres * math.sin(self._heading)
        self._to_corner -= metres
        if self._to_corner <= 0:
            self._turn()

    def _turn(self) -> None:
        self._to_corner = self._random.uniform(*_BLOCK_METRES)
        self._limit = self._random.choice(_LIMITS_KMH) / 3.6
        self._heading += self._random.choice((-1, 0, 0, 0, 1)) * math.pi / 2
        if math.hypot(self._north, self._east) > _RADIUS_METRES:
            # The street that leads back best, or a long run would end in the sea.
            headings = (self._heading + turn * math.pi / 2 for turn in range(4))
            self._heading = min(headings, key=self._distance_after)
        if self._random.random() < 0.3:
            self._metres_per_second = 0.0
            self._standing_seconds = self._random.uniform(*_STOP_SECONDS)

    def _distance_after(self, heading: float) -> float:
        return math.hypot(
            self._north + 100 * math.cos(heading), self._east + 100 * math.sin(heading)
        )


class Box:
    """Senses a room or a yard: climate, air, light, whether anybody moves."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._mean = random.uniform(8, 22)
        self._swing = random.uniform(2, 7)
        self._pressure = random.uniform(1_000, 1_025)
        self._front = random.uniform(0, 2 * math.pi)
        self._wobble = 0.0

    def values_at(self, epoch_seconds: float) -> dict[str, Any]:
        """What the box senses."""
        hour = epoch_seconds % _DAY_SECONDS / 3_600
        draw = self._random.random
        is_day = 7 <= hour < 19
        return {
            **self.climate_at(epoch_seconds),
            "pressure": round(self._pressure_at(epoch_seconds), 1),
            "co": round(0.003 + 0.004 * draw(), 6),
            "lpg": round(0.005 + 0.004 * draw(), 6),
            "smoke": round(0.015 + 0.01 * draw(), 6),
            "light": is_day,
            "motion": draw() < (0.3 if is_day else 0.02),
        }

    def climate_at(self, epoch_seconds: float) -> dict[str, float]:
        """Temperature, warmest in the afternoon, and humidity, which goes against it."""
        hour = epoch_seconds % _DAY_SECONDS / 3_600
        cycle = math.cos(2 * math.pi * (hour - _WARMEST_HOUR) / 24)
        # What the weather adds comes slowly and goes slowly.
        self._wobble = 0.95 * self._wobble + self._random.gauss(0, 0.08)
        humidity = 62 - 16 * cycle - 4 * self._wobble
        return {
            "temperature": round(self._mean + self._swing * cycle + self._wobble, 2),
            "humidity": round(min(max(humidity, 5), 100), 2),
        }

    def _pressure_at(self, epoch_seconds: float) -> float:
        days = epoch_seconds / _DAY_SECONDS
        return self._pressure + 9 * math.sin(2 * math.pi * days / 4 + self._front)
