"""Chromium, and a made-up model behind the real server, for the tests of the page."""

import csv
import io
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from pipelines.markdown import escape
from pipelines.serve.schema import Score
from pipelines.serve.served import Facts, Served, Shelf
from tests.serving import MadeUp, a_model, live

SCREENSHOTS = Path(__file__).parents[2] / "out" / "screenshots"
BROWSERS = ("chromium", "google-chrome")
LABELS = ("negative", "positive")
WEIGHTS = {
    **{"good": 2.0, "best": 3.0, "performance": 1.4, "like": 0.8},
    **{"thin": -1.2, "did": -0.4, "wanted": -0.6, "dull": -2.2, "lifeless": -1.5},
}
MIXED = "The plot is thin, but what a performance!"
HOSTILE = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"
CARD = f"""---
license: apache-2.0
---
# sentiment

Told apart: *negative* and **positive**, `code` {escape(HOSTILE)}.
{HOSTILE} [a link](javascript:document.title='hacked')

| class | F1 \\| more |
| --- | --- |
| {escape(HOSTILE)} | 0.82 |

- first
- second, {escape("a * b_c_d [x] 1 < 2 & 3")}

```python
print("<b>as it is</b>")
```
"""


class Words(MadeUp):
    """Adds up the weights of a text's words; `bias` makes another model of it."""

    def __init__(self, labels: tuple[str, ...] = LABELS, bias: float = 0.1) -> None:
        super().__init__(labels)
        self.bias = bias

    def probabilities(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        self.asked.append(list(texts))
        self.hold(texts)
        words = (re.findall(r"\w+", text.lower()) for text in texts)
        logits = np.array([self.bias + sum(WEIGHTS.get(word, 0) for word in one) for one in words])
        positive = 1 / (1 + np.exp(-logits))
        return np.column_stack([1 - positive, positive])


def champion(runtime: Words | None = None, version: str = "7", card: str = CARD) -> Served:
    scores = {"accuracy": Score(value=0.829, low=0.811, high=0.845), "f1.negative": Score(value=0.82)}
    facts = Facts(card, scores, study="quickstart", base_model="minilm", calibrated=True)
    model = a_model(version, runtime or Words(), facts)
    return replace(model, too_long=lambda text: len(text.split()) > 60)  # type: ignore[arg-type]


def shelf(model: Served | None = None, *, rival: bool = False) -> Shelf:
    found = Shelf("champion")
    found.put("champion", model or champion())
    if rival:
        found.put("challenger", champion(Words(bias=-0.9), version="8"))
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that finds no host but this one; nothing is ever downloaded for it. Skips tests where there is none."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("there is no Chromium here; on Debian, as root: apt-get install chromium (`make test` does it)")
    alone = ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--disable-background-networking"]
    expect.set_options(timeout=10_000)
    # As root, in a container, Chromium's own sandbox cannot be had; it sees our page alone.
    with (
        sync_playwright() as driver,
        closing(driver.chromium.launch(executable_path=path, chromium_sandbox=False, args=alone)) as browser,
    ):
        yield browser


class Watched:
    """What a page did that no page of ours should: errors in the console, dialogues, requests elsewhere."""

    def __init__(self, page: Page, *, refusals: bool) -> None:
        """`refusals`: the browser's own notes of answers that were no success, or never came, are forgiven."""
        self.faults: list[str] = []
        self._refusals = refusals
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.faults.append(f"dialogue: {dialog.message}"))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not (self._refusals and "Failed to load resource" in message.text):
            self.faults.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.faults.append(f"request: {request.url}")


@contextmanager
def visit(browser: Browser, url: str, *, refusals: bool = False, **how: Any) -> Iterator[Page]:
    """A page with nothing stored; when it is closed, it must not have misbehaved."""
    how = {"viewport": {"width": 1280, "height": 900}} | how
    with closing(browser.new_context(**how)) as context:
        page = context.new_page()
        watched = Watched(page, refusals=refusals)
        page.goto(url)
        yield page
    assert watched.faults == []


@contextmanager
def host(
    browser: Browser, shelf: Shelf, *, view: str = "", look: Mapping[str, Any] | None = None, **settings: Any
) -> Iterator[Page]:
    """A page of a server of its own."""
    refusals = settings.pop("refusals", False)
    with (
        live(shelf, **settings) as port,
        visit(browser, f"http://127.0.0.1:{port}/{view}", refusals=refusals, **(look or {})) as page,
    ):
        yield page


def write(page: Page, text: str) -> None:
    """Type a text, and wait until its words have been measured."""
    page.fill("#text", text)
    points = "[−+0-9]*"  # which may stand behind any letter
    shown = points.join(map(re.escape, text))
    expect(page.locator(".influence .words").first).to_have_text(re.compile(f"^{shown}{points}$"))
    expect(page.locator(".legend").first).to_be_visible()


def results(page: Page) -> list[dict[str, str]]:
    """The downloaded results, as Python's own reader sees them."""
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "results.csv"
    content = Path(download.value.path()).read_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(content, newline=""), strict=True))


def a_file(content: str, name: str = "reviews.csv") -> Any:
    return {"name": name, "mimeType": "text/csv", "buffer": content.encode()}


def classify(page: Page, count: int) -> None:
    page.click("#classify")
    expect(page.locator("#results-title")).to_have_text(f"{count} text{'s' * (count != 1)} classified")


CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  canvas.canvas.width = canvas.canvas.height = 1;
  const painted = (colours) => {
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
  const light = ([red, green, blue]) =>
    0.2126 * linear(red / 255) + 0.7152 * linear(green / 255) + 0.0722 * linear(blue / 255);
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    const isShown = one.checkVisibility() && !one.closest(".unseen, .skip, :disabled, option, noscript");
    if (!isShown || !texts.currentNode.data.trim()) continue;
    const behind = [];
    for (let at = one; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const [a, b] = [light(painted(behind)), light(painted([...behind, getComputedStyle(one).color]))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.textContent.slice(0, 30)]);
  }
  return found;
}"""
"""For each text that is seen: its contrast to what is behind it (WCAG 2), and how it begins."""


def keep(page: Page, name: str) -> None:
    """Keep a picture of the whole page."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
