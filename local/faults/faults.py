"""What a fault is, which calls it strikes, and how often it has.

Guarantees: whether the n-th call that matches a fault is struck depends on the fault alone (`skip`,
`probability`, `seed`), never on time; a call is struck by one fault at most, the one that was
injected first; `fired` counts the calls that were struck, or the actions that were carried out.
"""

import math
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Final

from local.api import ApiError
from local.faults.calls import Call, no_such_call

# What may be set beside the name, by kind: faults that strike calls, and actions, done at once.
_OF_EVERY_CALL: Final = ("on", "where", "skip", "times", "probability", "seed")
CALL_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "throttle": _OF_EVERY_CALL,
    "error": (*_OF_EVERY_CALL, "code", "status"),
    "delay": (*_OF_EVERY_CALL, "seconds"),
    "lose-response": _OF_EVERY_CALL,
    "duplicate": _OF_EVERY_CALL,
    "kill": (*_OF_EVERY_CALL, "process", "when"),
}
ACTION_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "broker-restart": ("seconds",),
    "broker-disconnect": (),
    "reshard": ("where", "seed", "shards"),
    "clock-jump": ("seconds",),
}


class FaultError(ApiError):
    """There is no such fault, or it can't be done; the message is one line that says why."""

    def __init__(self, message: str) -> None:
        super().__init__("InvalidFault", message)


@dataclass(frozen=True)
class Fault:
    """`on` is a pattern of call names (`kinesis:Put*`), `where` a part of the call's resource
    (a key's prefix, a stream's name), `process` a part of the name of the process that is killed.

    The first `skip` matching calls pass; then `times` are struck (0: until it is cleared), each
    with `probability`.
    """

    name: str
    kind: str
    on: str = ""
    where: str = ""
    process: str = ""
    when: str = "after"
    skip: int = 0
    times: int = 1
    probability: float = 1.0
    seed: int = 0
    seconds: float = 0.0
    code: str = ""
    status: int = 0
    shards: int = 0

    def matches(self, call: Call) -> bool:
        """Whether the fault is for `call`; a kill is only for calls of the cloud's processes."""
        if not fnmatchcase(call.name, self.on) or self.where not in call.resource:
            return False
        return self.kind != "kill" or (
            call.process is not None and self.process.lower() in call.process.name.lower()
        )

    def strikes(self, number: int) -> bool:
        """Whether the `number`-th matching call, from 1, is struck."""
        drawn = random.Random(f"{self.seed}/{number}").random()  # noqa: S311 - nothing secret
        return number > self.skip and drawn < self.probability


@dataclass
class _Injected:
    fault: Fault
    matched: int = 0
    fired: int = 0
    cleared: threading.Event = field(default_factory=threading.Event)

    @property
    def is_waiting(self) -> bool:
        times = self.fault.times
        return self.fault.kind in CALL_KINDS and (times == 0 or self.fired < times)


class Faults:
    """The faults of one local cloud. Thread-safe. `actions` carries out those that are actions."""

    def __init__(self, actions: Mapping[str, Callable[[Fault], object]] | None = None) -> None:
        self.actions = dict(actions or {})
        self._injected: list[_Injected] = []
        # Read without the lock before every call: empty, a call costs nothing more.
        self.waiting: tuple[_Injected, ...] = ()
        self._lock = threading.Lock()

    def inject(self, kind: str, name: str = "", **settings: Any) -> Fault:
        """From now on strike calls with a fault, or carry out an action; FaultError if it is wrong.

        Without a `name` it has its kind's, with a number if that is taken.
        """
        fault = _checked(kind, settings)
        with self._lock:
            injected = _Injected(self._named(fault, name))
            if fault.kind in CALL_KINDS:
                self._add(injected)
        if fault.kind not in CALL_KINDS:
            try:
                self.actions[kind](fault)
            except ApiError as error:
                raise FaultError(f"{kind}: {error.message}") from None
            injected.fired = 1
            with self._lock:
                self._add(injected)
        return injected.fault

    def strike(self, call: Call) -> Fault | None:
        """The fault that strikes this call, counted."""
        with self._lock:
            for injected in self.waiting:
                if not injected.fault.matches(call):
                    continue
                injected.matched += 1
                if injected.fault.strikes(injected.matched):
                    injected.fired += 1
                    self._set_waiting()
                    return injected.fault
        return None

    def wait(self, fault: Fault) -> None:
        """Wait as long as a fault that has struck says, but no longer than until it is cleared."""
        with self._lock:
            cleared = [one.cleared for one in self._injected if one.fault is fault]
        if cleared:
            cleared[0].wait(fault.seconds)

    def fired(self, name: str) -> int:
        """How often the fault `name` has fired."""
        with self._lock:
            return sum(one.fired for one in self._injected if one.fault.name == name)

    def shown(self) -> list[dict[str, Any]]:
        """Every fault with its settings, `matched` and `fired`, in the order of their injection."""
        with self._lock:
            return [
                {name: value for name, value in asdict(one.fault).items() if name in _shown(one)}
                | {"matched": one.matched, "fired": one.fired}
                for one in self._injected
            ]

    def clear(self, name: str = "") -> int:
        """Take back the fault `name`, or all, with their counts; how many there were. A clock that
        jumped goes back, who waits for a delay goes on; what other actions did stays done."""
        with self._lock:
            kept = [one for one in self._injected if name and one.fault.name != name]
            cleared = [one for one in self._injected if one not in kept]
            if name and not cleared:
                there_are = ", ".join(one.fault.name for one in kept) or "none"
                raise FaultError(f"there is no fault {name!r} to clear; there are: {there_are}")
            self._injected = kept
            self._set_waiting()
        for injected in cleared:
            injected.cleared.set()
            if injected.fault.kind == "clock-jump":
                fault = injected.fault
                self.actions[fault.kind](replace(fault, seconds=-fault.seconds))
        return len(cleared)

    def _add(self, injected: _Injected) -> None:
        self._injected.append(injected)
        self._set_waiting()

    def _set_waiting(self) -> None:
        self.waiting = tuple(one for one in self._injected if one.is_waiting)

    def _named(self, fault: Fault, name: str) -> Fault:
        taken = {one.fault.name for one in self._injected}
        if name in taken:
            raise FaultError(f"a fault {name!r} is there already: clear it or give another name")
        numbered = (f"{fault.kind}-{number}" for number in range(2, len(taken) + 3))
        free = (
            fault.kind if fault.kind not in taken else next(n for n in numbered if n not in taken)
        )
        return replace(fault, name=name or free)


def _shown(injected: _Injected) -> tuple[str, ...]:
    kind = injected.fault.kind
    return ("name", "kind", *{**CALL_KINDS, **ACTION_KINDS}[kind])


def _checked(kind: str, settings: Mapping[str, Any]) -> Fault:
    """The fault; FaultError for a kind, a setting or a value that there is not."""
    known = {**CALL_KINDS, **ACTION_KINDS}
    if kind not in known:
        raise FaultError(f"there is no fault {kind!r}; there are: {', '.join(known)}")
    for name in settings.keys() - set(known[kind]):
        takes = f"it takes: {', '.join(known[kind])}" if known[kind] else "it takes none"
        raise FaultError(f"{kind} takes no {name!r}; {takes}")
    types = {name: type(value) for name, value in asdict(Fault("", kind)).items()}
    try:
        given = {name: types[name](value) for name, value in settings.items()}
        fault = Fault("", kind, **given)
    except (TypeError, ValueError) as error:
        raise FaultError(f"{kind}: {error}") from None
    if kind in CALL_KINDS and (problem := no_such_call(fault.on)):
        raise FaultError(f"{kind}: {problem}")
    if fault.when not in ("before", "after"):
        raise FaultError(f"{kind}: 'when' is before or after, not {fault.when!r}")
    if kind in ("delay", "clock-jump") and not fault.seconds:
        raise FaultError(f"{kind}: 'seconds' is missing")
    if "shards" in settings and fault.shards < 1:
        raise FaultError(f"{kind}: 'shards' is 1 or more")
    if problem := _out_of_range(fault):
        raise FaultError(f"{kind}: {problem}")
    return fault


def _out_of_range(fault: Fault) -> str | None:
    """What is wrong with a fault's numbers, if anything is."""
    if not math.isfinite(fault.seconds) or (fault.seconds < 0 and fault.kind != "clock-jump"):
        return f"'seconds' is a number of seconds, and not negative, not {fault.seconds}"
    if fault.times < 0 or fault.skip < 0:
        return "'times' and 'skip' are 0 or more"
    if not 0 <= fault.probability <= 1:
        return f"'probability' is 0 to 1, not {fault.probability}"
    if fault.status and not 400 <= fault.status <= 599:
        return f"'status' is an error's, 400 to 599, not {fault.status}"
    return None
