"""A real browser for tests: Debian's Chromium (`apt-get install chromium`) or Google Chrome."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FOUND = next(filter(None, map(shutil.which, BROWSERS)), None)

needs_browser = pytest.mark.skipif(
    _FOUND is None, reason=f"no browser: none of {', '.join(BROWSERS)} is installed"
)


@contextmanager
def headless_browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_FOUND)
        yield chromium
        chromium.close()
