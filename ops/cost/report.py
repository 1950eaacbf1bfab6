"""The bill for people, as aligned lines, and for programs, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from ops.cost.advice import Advice
from ops.cost.load import Load, Way
from ops.cost.prices import PriceTable
from ops.cost.reckoning import Bill
from ops.cost.settings import Settings
from ops.tables import aligned

WAYS = {
    Way.MQTT: "over MQTT",
    Way.BASIC_INGEST: "over Basic Ingest",
    Way.SDK: "straight to the stream",
}


@dataclass(frozen=True)
class Reckoned:
    """A load under settings, its two bills and what is to be said of them."""

    load: Load
    settings: Settings
    prices: PriceTable
    bill: Bill
    firehose: Bill
    advice: tuple[Advice, ...]


def lines_of(reckoned: Reckoned) -> Iterator[str]:
    """The report."""
    load, prices, bill = reckoned.load, reckoned.prices, reckoned.bill
    yield (
        f"{load.messages_per_second:,g} messages a second of {load.payload_bytes:,} bytes, "
        f"{WAYS[load.way]}: {load.messages / 1e6:,.2f} million a month."
    )
    yield f"List prices of {prices.region} in USD, {prices.as_of}, without free tiers."
    yield ""
    yield from aligned(
        [("part", "quantity", "unit", "USD each", "USD a month"), *_rows(bill, prices)]
    )
    yield ""
    yield f"In all {bill.usd:,.2f} a month; {bill.fixed_usd:,.2f} of it without any message."
    if load.messages:
        each = bill.usd / load.messages * 1e6
        more = (bill.usd - bill.fixed_usd) / load.messages * 1e6
        yield (
            f"That is {each:,.2f} per million messages, {more:,.2f} of it for the messages "
            "themselves."
        )
    yield ""
    yield "Beside Firehose: the same rule, Firehose with conversion to Parquet, the same jobs."
    yield from aligned([("service", "this stack", "Firehose"), *_beside(bill, reckoned.firehose)])
    yield (
        "Firehose's column has no audit, alarms or metrics, and needs a schema; what each gives "
        "and lacks: docs/firehose.md."
    )
    if reckoned.advice:
        yield ""
        yield "Settings that cost:"
        for advice in reckoned.advice:
            saves = f" Saves {advice.saves_usd:,.2f}." if advice.saves_usd else ""
            yield f"  {advice.setting}: {advice.text}{saves}"
    yield ""
    yield from _caveats(reckoned)


def _rows(bill: Bill, prices: PriceTable) -> Iterator[tuple[str, ...]]:
    for service in bill.services:
        for line in bill.lines:
            if line.service == service and line.quantity:
                price = prices[line.price]
                mark = "" if price.verified else " (unverified)"
                yield (
                    f"{service}: {line.what}",
                    f"{line.quantity:,.2f}",
                    price.unit,
                    f"{price}{mark}",
                    f"{line.usd:,.2f}",
                )
        yield (f"{service} in all", "", "", "", f"{bill.of(service):,.2f}")


def _beside(bill: Bill, firehose: Bill) -> Iterator[tuple[str, str, str]]:
    for service in dict.fromkeys((*bill.services, *firehose.services)):
        yield service, f"{bill.of(service):,.2f}", f"{firehose.of(service):,.2f}"
    yield "in all", f"{bill.usd:,.2f}", f"{firehose.usd:,.2f}"


def _caveats(reckoned: Reckoned) -> Iterator[str]:
    prices = reckoned.prices
    yield (
        f"Not in it: queries (Athena), data leaving AWS, other Regions than {prices.region} "
        "(--prices FILE brings your own), tax. Durations of functions and jobs, the crawler's "
        "2 DPU, log sizes and requests of jobs are estimates; the dashboards' cost drivers show "
        "the real quantities."
    )
    used = {line.price for line in (*reckoned.bill.lines, *reckoned.firehose.lines)}
    unverified = sorted(name for name in used if not prices[name].verified)
    if unverified:
        yield f"Not verified against AWS's page: {', '.join(unverified)}."


def json_of(reckoned: Reckoned) -> str:
    """The same as one JSON object."""
    return json.dumps(
        {
            "region": reckoned.prices.region,
            "prices_as_of": reckoned.prices.as_of,
            "load": asdict(reckoned.load) | {"messages_a_month": reckoned.load.messages},
            "settings": asdict(reckoned.settings),
            "bill": _bill_object(reckoned.bill, reckoned),
            "firehose": _bill_object(reckoned.firehose, reckoned),
            "advice": [asdict(advice) for advice in reckoned.advice],
        },
        indent=2,
    )


def _bill_object(bill: Bill, reckoned: Reckoned) -> dict[str, object]:
    messages = reckoned.load.messages
    return {
        "usd_a_month": round(bill.usd, 4),
        "usd_a_month_fixed": round(bill.fixed_usd, 4),
        "usd_per_million_messages": round(bill.usd / messages * 1e6, 4) if messages else None,
        "services": {service: round(bill.of(service), 4) for service in bill.services},
        "lines": [
            asdict(line)
            | {
                "unit": reckoned.prices[line.price].unit,
                "page": reckoned.prices[line.price].page,
                "is_verified": reckoned.prices[line.price].verified,
            }
            for line in bill.lines
        ],
    }
