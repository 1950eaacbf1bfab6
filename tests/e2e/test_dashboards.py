"""The dashboards in a real browser: what the demo did is drawn, on a desk and on a phone.

Where there is no Chromium or Chrome these tests are skipped, but with CI=true they fail.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request

from docs.browser import NO_BROWSER, find_browser, open_browser
from docs.screenshots import LOOKS, Album, NotShownError, take_with
from local.demo.demo import Demonstration

DASHBOARDS = ("pipeline", "operations")
# Widgets that have nothing to show after a run in which nothing went wrong.
QUIET = {"Rule and stream: refused and failed (empty is good)", "Latest errors"}
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
# https://www.w3.org/TR/WCAG22/#contrast-minimum, and #non-text-contrast for lines and areas
LEAST_TEXT_CONTRAST = 4.5
LEAST_MARK_CONTRAST = 3.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if find_browser() is None:
        if os.environ.get("CI") == "true":
            pytest.fail(NO_BROWSER)
        pytest.skip(NO_BROWSER)
    with open_browser() as opened:
        yield opened


class Visit:
    """A page with what it asked for and what it complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._on_request)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _on_request(self, request: Request) -> None:
        self.asked.append(request.url)


@pytest.fixture
def visit(browser: Browser, demo: Demonstration, request: pytest.FixtureRequest) -> Iterator[Visit]:
    dashboard, scheme, size = request.param
    context = browser.new_context(color_scheme=scheme, viewport=size)
    visited = Visit(context.new_page())
    url = f"{demo.cloud.endpoint}/_local/dashboards/{demo.cloud.stack}-{dashboard}?range=1d"
    visited.page.goto(url)
    yield visited
    context.close()


def on(
    scheme: Literal["light", "dark"] = "light", size: dict[str, int] = DESK
) -> list[tuple[str, str, dict[str, int]]]:
    return [(dashboard, scheme, size) for dashboard in DASHBOARDS]


def deployed_widgets(demo: Demonstration, page: Page) -> list[dict[str, Any]]:
    name = page.locator("h1").inner_text()
    body = demo.lake.client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"]
    found: list[dict[str, Any]] = json.loads(body)["widgets"]
    return found


@pytest.mark.parametrize("visit", on(), indirect=True, ids=DASHBOARDS)
def test_every_widget_is_there_and_drawn_from_what_the_run_emitted(
    visit: Visit, demo: Demonstration
) -> None:
    for widget in deployed_widgets(demo, visit.page):
        title = widget["properties"].get("title")
        if title is None:
            assert visit.page.locator(".card.text h3").count() == 1
            continue
        card = visit.page.locator("section.card").filter(
            has=visit.page.get_by_role("heading", name=title, exact=True)
        )
        assert card.count() == 1, title
        if title in QUIET:
            continue
        assert card.locator(".nothing").count() == 0, title
        if widget["type"] == "metric" and widget["properties"]["view"] == "timeSeries":
            assert card.locator("svg path.dot, svg path.line, svg rect").count() > 0, title


@pytest.mark.parametrize("visit", on()[:1], indirect=True)
def test_the_numbers_are_those_of_the_run(visit: Visit, demo: Demonstration) -> None:
    page = visit.page

    def number(name: str) -> int:
        term = page.locator("dt", has_text=re.compile(f"^{name}$"))
        return int(term.locator("xpath=../dd").inner_text().replace(",", ""))

    written = demo.written
    # Other tests of this session may have sent more since.
    assert number("active") + number("silent") >= written["devices"]
    assert number("received") >= written["received"]
    assert number("received") == number("accepted") + number("rejected")
    assert number("rejected") >= sum(written["rejected"].values())
    assert number("curated") >= written["curated"]
    legend = page.locator(".legend").all_inner_texts()
    assert [reason for reason in written["rejected"] if reason not in " ".join(legend)] == []


def test_a_picture_is_taken_once_the_numbers_that_it_must_have_are_there(
    browser: Browser, demo: Demonstration, tmp_path: Path
) -> None:
    page = browser.new_page()
    page.goto(f"{demo.cloud.endpoint}/_local/dashboards/{demo.cloud.stack}-pipeline")
    curated = page.locator("dt", has_text="curated").first.locator("xpath=../dd").inner_text()
    page.close()
    album = Album(tmp_path, "small-", LOOKS[:1], awaited={"curated": int(curated.replace(",", ""))})
    files = take_with(browser, demo.cloud, album)
    assert [file.name for file in files] == [
        "small-pipeline-light.png",
        "small-operations-light.png",
    ]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_no_picture_is_taken_of_numbers_that_never_come(
    browser: Browser, demo: Demonstration, tmp_path: Path
) -> None:
    album = Album(tmp_path, awaited={"curated": 10**9}, patience_seconds=0.1)
    with pytest.raises(NotShownError, match="curated is 1,000,000,000, but the dashboard shows"):
        take_with(browser, demo.cloud, album)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("visit", on()[1:], indirect=True)
def test_every_alarm_has_its_name_and_a_state(visit: Visit, demo: Demonstration) -> None:
    names = visit.page.locator(".alarms .name").all_inner_texts()
    alarms = demo.lake.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert len(names) == len(alarms)
    assert [name for name in names if not re.fullmatch(r"\w+Alarm", name)] == []
    states = set(visit.page.locator(".alarms .state").all_inner_texts())
    assert states <= {"ok", "in alarm", "no data yet"}


@pytest.mark.parametrize("visit", on(), indirect=True, ids=DASHBOARDS)
def test_the_page_goes_on_by_itself_asks_nobody_else_and_complains_of_nothing(
    visit: Visit,
) -> None:
    page = visit.page
    page.evaluate("document.querySelector('details').open = true; window.kept = true")
    page.evaluate("document.querySelector('.card').dataset.old = 'yes'")
    page.evaluate("refresh()")
    page.wait_for_function("!document.querySelector('[data-old]')")
    assert page.evaluate("window.kept")
    assert page.locator("details").first.evaluate("one => one.open")
    assert {urlsplit(url).hostname for url in visit.asked} == {"127.0.0.1"}
    assert len(visit.asked) >= 2
    assert visit.complaints == []


@pytest.mark.parametrize("visit", on(size=PHONE), indirect=True, ids=DASHBOARDS)
def test_a_phone_has_one_column_and_nothing_beyond_its_edge(visit: Visit) -> None:
    page = visit.page
    page.eval_on_selector_all("details", "all => all.forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    lefts = page.eval_on_selector_all(
        ".card", "cards => cards.map(card => card.getBoundingClientRect().left)"
    )
    assert len(set(lefts)) == 1
    beyond = page.eval_on_selector_all(
        ".plot .tick, .plot .ticks span, .plot .limit-label, .legend li, .figures dd, .alarms li",
        "(all, width) => all.filter((one) => { const box = one.getBoundingClientRect();"
        " return box.left < 0 || box.right > width; }).map((one) => one.textContent)",
        PHONE["width"],
    )
    assert beyond == []


@pytest.mark.parametrize(
    "visit",
    on("light") + on("dark"),
    indirect=True,
    ids=[f"{name}-{scheme}" for scheme in ("light", "dark") for name in DASHBOARDS],
)
def test_text_and_marks_stand_out_from_their_ground(visit: Visit) -> None:
    texts, marks = visit.page.evaluate(_CONTRASTS)
    assert len(texts) > 50
    assert [one for one in texts if one[1] < LEAST_TEXT_CONTRAST] == []
    assert [one for one in marks if one[1] < LEAST_MARK_CONTRAST] == []


# Every element with text of its own, and every line, dot and area, against the ground behind it.
_CONTRASTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255).map(
      (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const found = rgb(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const contrast = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const told = (one, colour) =>
    [one.tagName + '.' + (one.getAttribute('class') || '') + ' ' + one.textContent.slice(0, 30),
     contrast(rgb(colour), ground(one))];
  const texts = [...document.querySelectorAll('body *')].filter(
    (one) => !['SCRIPT', 'STYLE', 'NOSCRIPT', 'title'].includes(one.tagName)
      && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
      && one.getClientRects().length).map((one) => told(one, getComputedStyle(one).color));
  const marks = [...document.querySelectorAll('path.line, path.dot, path.limit, rect.fill')].map(
    (one) => told(one, one.matches('rect') ? getComputedStyle(one).fill
      : getComputedStyle(one).stroke));
  return [texts, marks];
}"""
