"""How often a schedule fires: AWS's six-field cron expressions and rates, counted over a month.

https://docs.aws.amazon.com/glue/latest/dg/monitor-data-warehouse-schedule.html
"""

from __future__ import annotations

import calendar
import re
from datetime import date, timedelta
from typing import Final

from ops.errors import OperationError

MONTHS_A_YEAR: Final = 12
HOURS_A_MONTH: Final = 730
_MINUTES = {"minute": 1, "hour": 60, "day": 1440}
_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if number}
# Sunday is 1.
_DAYS = {
    name: number
    for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), start=1)
}


def runs_a_month(schedule: str) -> float:
    """How often `rate(...)` or `cron(...)` fires in an average month; an empty one never."""
    if not schedule:
        return 0.0
    if rate := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule):
        every = int(rate[1]) * _MINUTES[rate[2]]
        if every:
            return HOURS_A_MONTH * 60 / every
    cron = re.fullmatch(r"cron\((.+)\)", schedule)
    fields = cron[1].split() if cron else []
    if len(fields) != 6:
        raise OperationError(
            f"{schedule!r} is no schedule that can be counted: rate(N hours) or cron(minute hour "
            "day-of-month month day-of-week year)"
        )
    try:
        minute, hour, month_day, month, week_day, _ = fields
        a_day = len(_values(minute, 0, 59)) * len(_values(hour, 0, 23))
        return a_day * _days_a_year(month_day, month, week_day) / MONTHS_A_YEAR
    except (ValueError, KeyError) as error:
        raise OperationError(f"{schedule!r} cannot be counted: {error}") from error


def _days_a_year(month_day: str, month: str, week_day: str) -> int:
    months = _values(month, 1, 12, _MONTHS)
    # One of the two is always "?" and says nothing; L, W and # stand for one day of a month.
    if re.search("[LW#]", month_day + re.sub("[A-Z]{3}", "", week_day)):
        return len(months)
    month_days = _values(month_day.replace("?", "*"), 1, 31)
    week_days = _values(week_day.replace("?", "*"), 1, 7, _DAYS)
    first = date(2027, 1, 1)  # a year of 365 days
    days = (first + timedelta(days=number) for number in range(365))
    return sum(
        day.month in months and day.day in month_days and day.isoweekday() % 7 + 1 in week_days
        for day in days
    )


def _values(field: str, low: int, high: int, names: dict[str, int] | None = None) -> set[int]:
    """The values that one field of a cron expression allows."""
    values: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _number(start, names)
            last = _number(end, names) if dash else high if step else first
        if not low <= first <= last <= high:
            raise ValueError(f"{part} is not within {low} to {high}")
        values |= set(range(first, last + 1, int(step or 1)))
    return values


def _number(text: str, names: dict[str, int] | None) -> int:
    return (names or {}).get(text.upper()) or int(text)
