"""The price table: data with a date, a Region and, for each price, its page.

Guarantee: a table that lacks a price, or has one that nobody asks for, is refused; nothing is ever
reckoned with a price of zero because it was misspelt.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ops.errors import OperationError

PRICES: Final = Path(__file__).with_name("prices.toml")

_HEAD: Final = frozenset({"region", "as_of"})


@dataclass(frozen=True)
class Price:
    """What `per` of a unit cost, by steps: each an upper bound (None: no bound) and USD."""

    name: str
    unit: str
    per: float
    steps: tuple[tuple[float | None, float], ...]
    free: float
    page: str
    verified: bool

    def of(self, quantity: float) -> float:
        """The price of so many units, in USD."""
        left, below, usd = max(quantity - self.free, 0.0), 0.0, 0.0
        for up_to, step_usd in self.steps:
            taken = left if up_to is None else min(left, up_to - below)
            usd += taken / self.per * step_usd
            left -= taken
            below += taken
        return usd

    def __str__(self) -> str:
        bare = f"{self.steps[0][1]:.10f}".rstrip("0")
        whole, _, cents = bare.partition(".")
        per = "" if self.per == 1 else f" per {self.per:,.0f}"
        return f"{whole}.{cents.ljust(2, '0')}{per}"


@dataclass(frozen=True)
class PriceTable:
    """Prices by name, of one Region and one month."""

    region: str
    as_of: str
    prices: Mapping[str, Price]

    def __getitem__(self, name: str) -> Price:
        return self.prices[name]


def read_prices(override: Path | None = None) -> PriceTable:
    """The project's table, with what the override file says laid over it."""
    table = tomllib.loads(PRICES.read_text())
    known = table.keys() - _HEAD
    if override is not None:
        own = _read_override(override)
        if unknown := own.keys() - known - _HEAD:
            raise OperationError(
                f"{override} has prices that nothing is reckoned with: {', '.join(sorted(unknown))}"
                f". The names are those of {PRICES.name}: {', '.join(sorted(known))}."
            )
        for name, value in own.items():
            if name in _HEAD:
                table[name] = value
            else:
                # A price of one's own replaces the steps; unit, per and free stay unless given.
                steps = {"steps"} if "usd" in value else {"usd"} if "steps" in value else set()
                kept = {key: was for key, was in table[name].items() if key not in steps}
                table[name] = {**kept, "page": str(override), "checked": "yours", **value}
    prices = {name: _price(name, table[name]) for name in sorted(known)}
    return PriceTable(str(table["region"]), str(table["as_of"]), prices)


def _read_override(path: Path) -> dict[str, Any]:
    try:
        own = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OperationError(f"{path} cannot be read as a price table (TOML): {error}") from error
    for name, value in own.items():
        if name not in _HEAD and not isinstance(value, dict):
            raise OperationError(f"{path}: {name} is no table; write [{name}] and usd = ... below")
    return own


def _price(name: str, entry: Mapping[str, Any]) -> Price:
    try:
        steps = entry.get("steps") or [{"usd": entry["usd"]}]
        price = Price(
            name=name,
            unit=entry["unit"],
            per=float(entry.get("per", 1)),
            steps=tuple((step.get("up_to"), float(step["usd"])) for step in steps),
            free=float(entry.get("free", 0)),
            page=entry["page"],
            verified=entry["checked"] != "unverified",
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise OperationError(
            f"the price {name} is incomplete or no number: {error!r}. It needs usd, or steps with "
            "usd and up_to (but for the last)."
        ) from error
    bounds = [up_to for up_to, _ in price.steps]
    if bounds[-1] is not None or None in bounds[:-1] or price.per <= 0:
        raise OperationError(
            f"the price {name} has steps that do not cover every quantity: each but the last needs "
            "up_to, the last none"
        )
    return price
