"""Crawls: runs `crawler.crawl` for a deployed crawler and keeps how the last one ended.

One crawl per crawler at a time; a crawl that raises is FAILED with its message, as GetCrawler
shows.
https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-crawler-crawling.html
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local.api import ApiError, Operation
from local.events import TellEvent
from local.glue.background import Spawn, Work, spawn_thread
from local.glue.crawler import crawl, settings_of
from local.glue.definitions import Definitions, utc_now

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrawlOutcome:
    """How a crawl ended: SUCCEEDED, FAILED or CANCELLED."""

    state: str
    error_message: str | None


@dataclass
class _Crawl:
    """Changed only under the lock of `CrawlRuns`."""

    started_on: datetime
    stopping: threading.Event
    work: Work | None = None
    completed_on: datetime | None = None
    outcome: CrawlOutcome | None = None


OnEnd = Callable[[CrawlOutcome], None]


class CrawlRuns:
    """Starts, shows and stops crawls of the deployed crawlers, each in a thread of its own."""

    def __init__(
        self,
        definitions: Definitions,
        s3: Any,
        catalogue: Any,
        clock: Callable[[], datetime] = utc_now,
        spawn: Spawn = spawn_thread,
    ) -> None:
        """`s3` and `catalogue` are boto3 clients (s3, glue)."""
        self._definitions = definitions
        self._s3 = s3
        self._catalogue = catalogue
        self._clock = clock
        self._spawn = spawn
        # As of job runs: told of each crawl's end.
        self.tell: TellEvent = lambda _detail_type, _detail: None
        self._lock = threading.Lock()
        self._last: dict[str, _Crawl] = {}
        self._is_closed = False

    def start(self, name: str, on_end: OnEnd | None = None) -> None:
        """Begin a crawl; `on_end` is called once, in the crawl's thread.

        Raises ApiError EntityNotFoundException or CrawlerRunningException.
        """
        self._definitions.get("Crawler", name)
        with self._lock:
            last = self._last.get(name)
            if last is not None and last.outcome is None:
                raise ApiError("CrawlerRunningException", f"Crawler {name} has already started")
            if self._is_closed:
                raise ApiError("OperationTimeoutException", "the local cloud is stopping")
            run = _Crawl(self._clock(), threading.Event())
            self._last[name] = run
            run.work = self._spawn(lambda: self._run(name, run, on_end), name)

    def stop(self, name: str) -> None:
        """Ask a crawl to end. Raises ApiError CrawlerNotRunningException when there is none."""
        self._definitions.get("Crawler", name)
        with self._lock:
            last = self._last.get(name)
            if last is None or last.outcome is not None:
                raise ApiError("CrawlerNotRunningException", f"Crawler {name} is not running")
            last.stopping.set()

    def close(self) -> None:
        """Stop every crawl and wait until each has ended; none starts any more."""
        with self._lock:
            self._is_closed = True
            crawls = list(self._last.values())
        for run in crawls:
            run.stopping.set()
            if run.work is not None:
                run.work.join()

    def operations(self) -> dict[str, Operation]:
        """The Glue API's operations on crawlers."""
        return {
            "AWSGlue.StartCrawler": lambda request: self.start(request["Name"]),
            "AWSGlue.StopCrawler": lambda request: self.stop(request["Name"]),
            "AWSGlue.GetCrawler": lambda request: {"Crawler": self._show(request["Name"])},
            "AWSGlue.GetCrawlers": lambda _: {
                "Crawlers": [self._show(d["Name"]) for d in self._definitions.all("Crawler")]
            },
        }

    def _run(self, name: str, run: _Crawl, on_end: OnEnd | None) -> None:
        try:
            settings = settings_of(self._definitions.get("Crawler", name))
            result = crawl(settings, self._s3, self._catalogue, run.stopping.is_set)
            logger.info("crawler %s: %s", name, result)
            outcome = CrawlOutcome("CANCELLED" if run.stopping.is_set() else "SUCCEEDED", None)
        except Exception as error:  # whatever a crawl dies of is its outcome, not a dead thread
            logger.exception("crawler %s failed", name)
            outcome = CrawlOutcome("FAILED", f"{type(error).__name__}: {error}")
        with self._lock:
            run.outcome, run.completed_on = outcome, self._clock()
        # https://docs.aws.amazon.com/glue/latest/dg/automating-awsglue-with-cloudwatch-events.html
        detail = {"crawlerName": name, "state": outcome.state.capitalize()}
        if outcome.error_message:
            detail["errorMessage"] = outcome.error_message
        self.tell("Glue Crawler State Change", detail)
        if on_end is not None:
            on_end(outcome)

    def _show(self, name: str) -> dict[str, Any]:
        shown = self._definitions.get("Crawler", name)
        shown["CreationTime"] = shown.pop("CreatedOn")
        shown["LastUpdated"] = shown.pop("LastModifiedOn")
        shown |= {"State": "READY", "CrawlElapsedTime": 0, "Version": 1}
        with self._lock:
            last = self._last.get(name)
            if last is None:
                return shown
            elapsed = (last.completed_on or self._clock()) - last.started_on
            if last.outcome is None:
                shown["State"] = "STOPPING" if last.stopping.is_set() else "RUNNING"
                shown["CrawlElapsedTime"] = round(elapsed.total_seconds() * 1000)
                return shown
            shown["LastCrawl"] = {
                "Status": last.outcome.state,
                "StartTime": last.started_on,
                "LogGroup": "/aws-glue/crawlers",
                "LogStream": name,
            }
            if last.outcome.error_message:
                shown["LastCrawl"]["ErrorMessage"] = last.outcome.error_message
        return shown
