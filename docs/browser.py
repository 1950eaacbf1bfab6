"""A headless Chromium of this machine, for pictures of the dashboards and for their tests.

None is downloaded: Debian's package `chromium` or Chrome is used, whichever is on the PATH.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, sync_playwright

NO_BROWSER: Final = (
    "there is no Chromium or Chrome on the PATH to draw with: install one "
    "(Debian: apt-get install chromium)"
)
_NAMES: Final = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
# Chromium itself asks the network for updates and more, even when it is told to show one page.
_ARGUMENTS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-domain-reliability", "--no-proxy-server"),
)


class NoBrowserError(Exception):
    """There is no Chromium; the message says how to get one."""


def find_browser() -> Path | None:
    """The machine's Chromium or Chrome."""
    return next((Path(path) for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless browser, closed when the block is left; NoBrowserError."""
    path = find_browser()
    if path is None:
        raise NoBrowserError(NO_BROWSER)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
