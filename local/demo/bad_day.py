"""A bad day for the trial of a fleet: the local cloud's faults, by a schedule from a seed.

Guarantee: the same seed and length give the same faults at the same moments, and each kind that
`local.faults` has is among them. They go without loss where the pipeline keeps what it promises.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, Final, Protocol

_RAW: Final = {"on": "s3:PutObject", "where": "raw_data/"}
# Name, kind, settings; each begins at a moment of its own. Rates are such that a rule's attempts,
# eight for a message, outlast them: twenty lost answers in a row put two messages aside.
_ON_CALLS: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("rule throttled", "throttle", {"on": "kinesis:PutRecord", "probability": 0.02, "times": 20}),
    ("rule failed", "error", {"on": "kinesis:PutRecord", "probability": 0.02, "times": 20}),
    (
        "rule's answer lost",
        "lose-response",
        {"on": "kinesis:PutRecord", "probability": 0.1, "times": 20},
    ),
    ("rule's record twice", "duplicate", {"on": "kinesis:PutRecord", "times": 20}),
    ("poll throttled", "throttle", {"on": "kinesis:GetRecords", "times": 5}),
    ("poll slow", "delay", {"on": "kinesis:GetRecords", "seconds": 1.5, "times": 3}),
    ("batch twice", "duplicate", {"on": "lambda:Invoke", "times": 3}),
    ("function throttled", "throttle", {"on": "lambda:Invoke", "times": 3}),
    ("function's answer lost", "lose-response", {"on": "lambda:Invoke", "times": 2}),
    ("write throttled", "throttle", {**_RAW, "times": 3}),
    ("write failed", "error", {**_RAW, "times": 2}),
    ("write's answer lost", "lose-response", {**_RAW, "times": 2}),
    ("write slow", "delay", {**_RAW, "seconds": 0.5, "times": 3}),
    ("function killed", "kill", {**_RAW, "process": "ingest", "times": 2}),
    ("function killed before", "kill", {**_RAW, "process": "ingest", "when": "before"}),
)
_JUMP_SECONDS: Final = 400.0


@dataclass(frozen=True, order=True)
class Incident:
    """A fault and when it is injected, in seconds after the fleet began to publish."""

    at: float
    name: str
    kind: str = field(compare=False)
    settings: dict[str, Any] = field(compare=False)


def bad_day(seed: int, seconds: float) -> list[Incident]:
    """The faults of a run of so many seconds, in their order."""
    random = Random(f"bad day {seed}")  # noqa: S311 - nothing secret is drawn

    def between(first: float, last: float) -> float:
        return round(random.uniform(first, last) * seconds, 1)

    incidents = [
        Incident(between(0.05, 0.85), name, kind, {**settings, **_seeded(kind, random)})
        for name, kind, settings in _ON_CALLS
    ]
    pause = min(3.0, seconds / 30)
    jump = between(0.48, 0.52)
    incidents += [
        Incident(between(0.1, 0.2), "devices cut off", "broker-disconnect", {}),
        Incident(between(0.22, 0.3), "stream split", "reshard", {"seed": seed + 1}),
        Incident(between(0.35, 0.42), "broker restarted", "broker-restart", {"seconds": pause}),
        # Those that fall silent have done so by then: an arrival in the future would hide it.
        Incident(jump, "clock jumps", "clock-jump", {"seconds": _JUMP_SECONDS}),
        Incident(
            jump + min(20.0, 0.04 * seconds),
            "clock back",
            "clock-jump",
            {"seconds": -_JUMP_SECONDS},
        ),
        Incident(between(0.62, 0.7), "stream resharded", "reshard", {"seed": seed}),
        Incident(
            between(0.75, 0.85), "broker restarted again", "broker-restart", {"seconds": pause}
        ),
    ]
    return sorted(incidents)


def _seeded(kind: str, random: Random) -> dict[str, int]:
    return {} if kind == "clock-jump" else {"seed": random.randrange(1_000_000)}


class Injecting(Protocol):
    """What the faults are injected into: `local.lifecycle.LocalCloud`."""

    def inject(self, kind: str, **settings: Any) -> str:
        """Inject a fault and give its name."""


class Weather:
    """Injects incidents in a thread of its own while a fleet publishes.

    Use as a context manager; `injected_at` says what was injected and when, `failures` what could
    not be.
    """

    def __init__(
        self,
        cloud: Injecting,
        incidents: Iterable[Incident],
        show: Callable[[str], None] = lambda _: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.failures: list[str] = []
        self.injected_at: dict[str, datetime] = {}
        self._cloud = cloud
        self._incidents = list(incidents)
        self._show = show
        self._clock = clock
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="weather", daemon=True)

    def __enter__(self) -> "Weather":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.wait()

    def wait(self) -> None:
        """Wait until the last one is there."""
        self._thread.join()

    def _run(self) -> None:
        passed = 0.0
        # Each by itself: to cut off a thousand devices takes a while, in which others go on.
        with ThreadPoolExecutor(len(self._incidents) or 1, thread_name_prefix="weather") as pool:
            for incident in self._incidents:
                if self._ended.wait(max(incident.at - passed, 0)):
                    self.failures.append(f"{incident.name}: the fleet was through before")
                    continue
                passed = incident.at
                pool.submit(self._inject, incident)

    def _inject(self, incident: Incident) -> None:
        self._show(incident.name)
        now = self._clock()
        try:
            self._cloud.inject(incident.kind, name=incident.name, **incident.settings)
            self.injected_at[incident.name] = now
        except Exception as error:  # noqa: BLE001 - told in the verdict; the rest goes on
            self.failures.append(f"{incident.name}: {error}")
