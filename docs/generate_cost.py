"""Writes the tables of `docs/cost.md` and `docs/firehose.md` with what `ops cost` reckons.

Between `<!-- generated: NAME -->` and `<!-- end -->` stands what this module says; the rest of the
page is written by hand. So a figure there is one that the command gives for the template as it is,
or was when it was less than a dollar or a twentieth away: one more alarm makes no page stale.

    python -m docs.generate_cost           # write the pages anew
    python -m docs.generate_cost --check   # fail if they are not what this would write
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from ops.cost.load import Load, Way, batches_of
from ops.cost.prices import read_prices
from ops.cost.reckoning import Bill, Line, bill_of, firehose_bill_of
from ops.cost.settings import read_settings

FOLDER: Final = Path(__file__).resolve().parent
BLOCK: Final = re.compile(
    r"(?P<start><!-- generated: (?P<name>[a-z_]+) -->\n).*?(?P<end><!-- end -->\n)", re.DOTALL
)
FIGURE: Final = re.compile(r"\d[\d,]*(?:\.\d+)?")
PRICES: Final = read_prices()

# 1,000 devices, one message of 1 KB a minute; the load of the page's example.
EXAMPLE: Final = Load(
    messages_per_second=1000 / 60,
    payload_bytes=1024,
    readings_per_message=1,
    devices=1000,
    way=Way.MQTT,
    rejected_share=0.0,
    months_kept=1.0,
)
IDLE: Final = replace(EXAMPLE, messages_per_second=0.0, devices=0)
# Batches of some 750 messages each.
MANY: Final = replace(EXAMPLE, messages_per_second=100.0, devices=0)
LEAN: Final = {"CrawlRawZone": "false", "StreamMode": "PROVISIONED", "ShardCount": "1"}

CHOICES: Final[tuple[tuple[Mapping[str, str], str], ...]] = (
    (
        {"CrawlRawZone": "false"},
        "the table `raw_data`; curation and the curated tables do not need it",
    ),
    (
        {"StreamMode": "PROVISIONED", "ShardCount": "1"},
        "a limit of 1 MB or 1,000 records a second, to be raised by hand. Keeping seven days costs "
        "more than the shard",
    ),
    (
        {"AuditSchedule": ""},
        "nobody looks for what is lost until you do; it also spares the stream's second reading",
    ),
    (
        {"RegistryExportSchedule": ""},
        "`device_registry` holds only the rows that you append yourself",
    ),
    ({"CurationSchedule": "cron(0 3 * * ? *)"}, "curated readings up to a day late"),
    (
        {"CurationSchedule": "cron(0 3 * * ? *)", "CrawlRawZone": "false"},
        "both of them",
    ),
)


class PageError(Exception):
    """A page lacks a block that is generated, or has one that is not."""


def bill(load: Load, **parameters: str) -> Bill:
    """The bill of a load with these parameters of the template."""
    return bill_of(load, read_settings(parameters), PRICES)


def usd(amount: float) -> str:
    """Dollars for people: cents only below one."""
    if amount >= 0.995:
        return f"{amount:,.0f}"
    return f"{amount:,.2f}" if amount >= 0.01 else f"{amount:,.3f}" if amount >= 0.0005 else "-"


def regenerated(page: str, text: str) -> str:
    """The page with every generated block as it is to be."""
    names, blocks = [match["name"] for match in BLOCK.finditer(text)], PAGES[page]
    if sorted(names) != sorted(blocks):
        raise PageError(f"docs/{page} has the blocks {names}, but {list(blocks)} are generated")
    return BLOCK.sub(lambda match: match["start"] + blocks[match["name"]]() + match["end"], text)


def agree(text: str, wanted: str) -> bool:
    """Whether two pages say the same, figures roughly and all else exactly."""
    if FIGURE.sub("0", text) != FIGURE.sub("0", wanted):
        return False
    pairs = zip(FIGURE.findall(text), FIGURE.findall(wanted), strict=True)
    return all(
        math.isclose(
            float(is_.replace(",", "")),
            float(ought.replace(",", "")),
            rel_tol=0.05,
            # Whole dollars are rounded ones.
            abs_tol=0.0 if "." in is_ + ought else 1.0,
        )
        for is_, ought in pairs
    )


def _idle() -> str:
    lines = [line for line in bill(IDLE).lines if line.usd >= 0.005]
    rows = [(f"{line.service}: {line.what}", _how(line), usd(line.usd)) for line in lines]
    rows.append(("**in all**", "", f"**{usd(bill(IDLE).usd)}**"))
    return _table(("part", "how", "a month"), rows)


def _choices() -> str:
    before = bill(IDLE).usd
    rows = []
    for parameters, price in CHOICES:
        named = ", ".join(f"`{name}={value or "''"}`" for name, value in parameters.items())
        rows.append((named, usd(before - bill(IDLE, **parameters).usd), price))
    return _table(("instead", "saves", "costs you"), rows)


def _million() -> str:
    parts: dict[str, Callable[[Line], bool]] = {
        "IoT Core, publish": lambda line: line.what == "messages" and line.service == "IoT Core",
        "IoT Core, rule and its one action": lambda line: line.what in {"rule", "action"},
        "stream on demand: in, out, kept for seven days": lambda line: (
            line.service == "Kinesis" and "audit" not in line.what
        ),
        "audit: reading the stream once more, and its function": lambda line: "audit" in line.what,
        "function": lambda line: line.what in {"requests", "ingestion"},
        "S3, one raw object per batch, read by the jobs": lambda line: (
            line.what in {"objects written", "objects read"}
        ),
        "S3, a month of it in raw and curated zone": lambda line: line.what.endswith(" zone"),
        "jobs, beyond a run with nothing to do": lambda line: line.service == "Glue",
        "logs and traces": lambda line: (
            line.what.startswith("logs of the function") or line.service == "X-Ray"
        ),
    }
    bills = [bill(replace(MANY, way=way)) for way in Way]
    millions = MANY.messages / 1e6

    def cells(holds: Callable[[Line], bool]) -> list[float]:
        return [
            sum(line.usd for line in each.lines if not line.is_fixed and holds(line)) / millions
            for each in bills
        ]

    table = {part: cells(holds) for part, holds in parts.items()}
    rows = [(part, *map(_cents, amounts)) for part, amounts in table.items()]
    totals = [sum(column) for column in zip(*table.values(), strict=True)]
    rows.append(("**in all**", *(f"**{_cents(total)}**" for total in totals)))
    return _table(("leg", "over MQTT", "over Basic Ingest", "straight to the stream"), rows)


def _example() -> str:
    lean_load = replace(EXAMPLE, way=Way.BASIC_INGEST)
    bills = (
        bill(EXAMPLE),
        bill(lean_load, **LEAN),
        firehose_bill_of(EXAMPLE, read_settings({}), PRICES, partitions=0),
    )
    services = dict.fromkeys(service for each in bills for service in each.services)
    rows = [(service, *(usd(each.of(service)) for each in bills)) for service in services]
    rows.append(("**in all**", *(f"**{usd(each.usd)}**" for each in bills)))
    head = (
        "service",
        "as installed",
        "Basic Ingest, one shard, no crawler",
        "with Firehose instead, the same jobs",
    )
    return _table(head, rows)


def _prices() -> str:
    doubtful = sorted(price.unit for price in PRICES.prices.values() if not price.verified)
    told = f" Not verified against AWS's page: {'; '.join(doubtful)}." if doubtful else ""
    return (
        f"List prices of {PRICES.region} in USD, {PRICES.as_of}, without free tiers; other Regions "
        f"differ.{told}\n"
    )


def _beside_firehose() -> str:
    rows = []
    for a_second in (1.0, 10.0, 100.0, 1000.0):
        for payload in (200, 1024, 4096):
            load = replace(EXAMPLE, messages_per_second=a_second, payload_bytes=payload, devices=0)
            cells = [f"{a_second:,.0f}", f"{payload:,}"]
            for parameters in ({"CrawlRawZone": "false"}, LEAN):
                # Twice what the load fills; the lean column is reckoned with these.
                settings = read_settings(parameters)
                fills = batches_of(load, settings).needed_shards
                settings = replace(settings, shard_count=max(1, math.ceil(2 * fills)))
                cells.append(usd(bill_of(load, settings, PRICES).usd))
            for partitions in (0, 100):
                settings = read_settings({"CrawlRawZone": "false"})
                other = firehose_bill_of(load, settings, PRICES, partitions=partitions)
                cells.append(usd(other.usd))
            rows.append(tuple(cells))
    head = (
        "messages/s",
        "bytes",
        "this stack, on demand",
        "this stack, provisioned",
        "Firehose",
        "Firehose, 100 partitions",
    )
    return _table(head, rows)


PAGES: Final[Mapping[str, Mapping[str, Callable[[], str]]]] = {
    "cost.md": {
        "prices": _prices,
        "idle": _idle,
        "choices": _choices,
        "million": _million,
        "example": _example,
    },
    "firehose.md": {"prices": _prices, "beside_firehose": _beside_firehose},
}


def _how(line: Line) -> str:
    return f"{PRICES[line.price].unit}, ${PRICES[line.price]}"


def _cents(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 0.095 else f"{amount:,.3f}" if amount >= 5e-4 else "-"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def run(arguments: list[str], folder: Path = FOLDER) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.generate_cost",
        description="Write the generated tables of docs/cost.md and docs/firehose.md.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if one is stale")
    check = parser.parse_args(arguments).check
    code = 0
    for name in PAGES:
        page = folder / name
        text = page.read_text()
        try:
            wanted = regenerated(name, text)
        except PageError as error:
            print(error, file=sys.stderr)
            return 1
        if not check:
            page.write_text(wanted)
        elif not agree(text, wanted):
            print(f"docs/{name} is stale: run `make docs`, read the difference", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
