"""The page with one text, in a real Chromium against the real server with a made-up model.

Screenshots are written to `out/screenshots/`, which git ignores.
"""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.serving import live

from .browsing import HOSTILE, MIXED, Words, champion, host, shelf, visit, write


def test_typing_shows_label_probabilities_and_what_each_word_does(page: Page) -> None:
    expect(page.locator(".empty")).to_contain_text("The answer appears here while you write")
    write(page, MIXED)
    answer = page.locator(".answer")
    expect(answer.locator(".answer-head")).to_have_text(re.compile(r"positive\s*57\.4\s%"))
    expect(answer.locator(".bars li")).to_have_text(
        [re.compile(r"negative\s*42\.6\s%"), re.compile(r"positive\s*57\.4\s%")]
    )
    page.wait_for_timeout(300)  # the bars' transition
    shares = [
        bar.evaluate("bar => bar.getBoundingClientRect().width / bar.parentNode.clientWidth")
        for bar in answer.locator(".fill").all()
    ]
    assert shares == pytest.approx([0.426, 0.574], abs=0.01)
    assert answer.locator(".for").all_inner_texts()[0].split() == ["performance!", "+32"]
    assert answer.locator(".against").all_inner_texts()[0].split() == ["thin,", "−24"]
    underlines = [
        answer.locator(f"{kind} .letters").first.evaluate("word => getComputedStyle(word).borderBottomStyle")
        for kind in (".word.for", ".word.against")
    ]
    assert underlines == ["solid", "dotted"]
    expect(answer).to_contain_text("leave-one-out: how the probability changes without the word")
    expect(answer).to_contain_text("Without “performance!” it falls by 32 points.")
    expect(page.locator("#spoken")).to_have_text(re.compile(r"positive, 57\.4\s%"))
    page.fill("#text", "")
    expect(page.locator(".empty")).to_be_visible()


def test_an_example_is_a_click_away(page: Page) -> None:
    page.click("button:text('a dull, lifeless two hours')")
    expect(page.locator(".answer-head .label")).to_have_text("negative")
    expect(page.locator("#text")).to_have_value("a dull, lifeless two hours")


def test_a_model_of_something_else_is_not_asked_about_films(browser: Browser) -> None:
    with live(shelf(champion(Words(("sport", "tech"))))) as port, visit(browser, f"http://127.0.0.1:{port}/") as page:
        expect(page.locator("h1")).to_have_text("sentiment")
        expect(page.locator("#proposals")).to_be_hidden()


def test_an_answer_to_an_older_text_is_dropped(page: Page) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "dull" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/v1/predict", hold)
    with page.expect_request("**/v1/predict"):
        page.fill("#text", "dull")
    write(page, "good")
    answer = {"model": {"name": "sentiment", "version": "7", "alias": "champion"}, "predictions": [{"label": "late"}]}
    held[0].fulfill(json=answer)
    page.wait_for_timeout(300)
    expect(page.locator(".answer-head .label")).to_have_text("positive")


def test_champion_and_challenger_stand_side_by_side(page: Page) -> None:
    page.check("text=Compare with the challenger, version 8")
    write(page, MIXED)
    expect(page.locator(".answer .kicker")).to_have_text(["champion · version 7", "challenger · version 8"])
    expect(page.locator(".answer-head .label")).to_have_text(["positive", "negative"])
    expect(page.locator("#verdict")).to_have_text("They disagree: the champion says positive, the challenger negative.")
    expect(page.locator(".answer .legend")).to_have_count(2)
    first, second = (card.bounding_box() for card in page.locator(".answer").all())
    assert first is not None
    assert second is not None
    assert (first["y"], first["x"] + first["width"] < second["x"]) == (second["y"], True)
    page.fill("#text", "good good")
    expect(page.locator("#verdict")).to_have_text("Both say positive.")
    page.uncheck("#compare")
    expect(page.locator(".answer-head .label")).to_have_text(["positive"])


def test_a_text_that_is_too_long_is_said_and_not_asked(page: Page) -> None:
    page.fill("#text", "good " * 2_000 + "🙂")
    expect(page.locator("#text-problem")).to_have_text("That is 1 character too many for one text.")
    expect(page.locator("#text")).to_have_attribute("aria-invalid", "true")
    page.fill("#text", "good " * 300)
    expect(page.locator(".notes")).to_contain_text("longer than the 12 tokens that the model reads")
    expect(page.locator(".influence")).to_contain_text("Measured for the first 200 words.")


def test_a_new_version_shows_as_soon_as_it_answers(browser: Browser) -> None:
    served = shelf()
    with host(browser, served) as page:
        expect(page.locator("#about")).to_have_text("version 7 · champion · negative or positive")
        expect(page.locator("#compare-choice")).to_be_hidden()
        served.put("champion", champion(version="9"))
        page.fill("#text", "good")
        expect(page.locator("#about")).to_contain_text("version 9")


def test_a_mistake_is_reported_only_where_reports_are_taken(browser: Browser, page: Page, tmp_path: Path) -> None:
    write(page, "good")
    expect(page.locator("text=Wrong?")).to_have_count(0)
    with host(browser, shelf(), reports=tmp_path / "reports.jsonl") as page:
        write(page, HOSTILE)
        page.click("text=Wrong?")
        page.click(".choices button:text('negative')")
        expect(page.locator(".report")).to_have_text("Thank you. The text was kept as an example of negative.")
    kept = json.loads((tmp_path / "reports.jsonl").read_text())
    assert (kept["text"], kept["label"]) == (HOSTILE, "negative")
