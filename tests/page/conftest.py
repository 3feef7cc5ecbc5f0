"""A browser, and the server that most tests of the page share."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.serving import live

from .browsing import chromium, shelf, visit


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="package")
def address() -> Iterator[str]:
    """The server that most tests share, with a challenger."""
    with live(shelf(rival=True)) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page of the shared server."""
    with visit(browser, address) as found:
        expect(found.locator("h1")).to_have_text("sentiment")
        yield found
