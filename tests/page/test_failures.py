"""What the page says when it does not go well."""

from contextlib import ExitStack

from playwright.sync_api import Browser, expect

from pipelines.serve.served import Shelf
from tests.serving import live

from .browsing import champion, host, keep, shelf, visit, write


def test_a_token_is_asked_for_kept_in_the_tab_and_asked_again_where_it_is_wrong(browser: Browser) -> None:
    with host(browser, shelf(), token="s3cret", refusals=True) as page:
        dialogue = page.get_by_role("dialog", name="This server asks for a token")
        expect(dialogue).to_be_visible()
        keep(page, "token")
        page.keyboard.press("Escape")
        expect(page.locator("#banner")).to_contain_text("A bearer token is needed.")
        page.click("text=Enter the token")
        expect(dialogue).to_be_visible()
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#token-problem")).to_have_text("That token was not accepted.")
        page.keyboard.type("ü")
        page.keyboard.press("Enter")
        expect(page.locator("#token-problem")).to_have_text(
            "A token has letters, digits and signs of the ASCII set only."
        )
        page.fill("#token", "s3cret")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("sentiment")
        expect(page.locator("#banner")).to_be_hidden()
        write(page, "good")
        page.reload()
        expect(page.locator("h1")).to_have_text("sentiment")
        assert page.evaluate("[JSON.stringify(localStorage), location.href].join()").count("s3cret") == 0


def test_a_server_that_goes_away_is_said_and_what_was_written_is_answered_when_it_is_back(browser: Browser) -> None:
    with ExitStack() as stack:
        with live(shelf()) as port:
            page = stack.enter_context(visit(browser, f"http://127.0.0.1:{port}/", refusals=True))
            write(page, "good")
        page.fill("#text", "dull")
        expect(page.locator("#banner-text")).to_have_text(
            "The server does not answer. What you wrote is kept, and this page tries again by itself."
        )
        keep(page, "away")
        with live(shelf(), port=port):
            page.click("text=Try now")
            expect(page.locator(".answer-head .label")).to_have_text("negative")
            expect(page.locator("#banner")).to_be_hidden()
            page.context.set_offline(True)
            page.fill("#text", "good")
            expect(page.locator("#banner")).to_be_visible()
            page.context.set_offline(False)
            expect(page.locator(".answer-head .label")).to_have_text("positive")
            expect(page.locator("#banner")).to_be_hidden()


def test_a_server_without_a_model_says_why_until_there_is_one(browser: Browser) -> None:
    empty = Shelf("champion")
    with host(browser, empty, refusals=True) as page:
        expect(page.locator("#banner-text")).to_have_text("The model is being loaded. Trying again …")
        keep(page, "loading")
        empty.put("champion", champion())
        page.click("text=Try now")
        expect(page.locator("h1")).to_have_text("sentiment")
        expect(page.locator("#banner")).to_be_hidden()
        empty.note("champion", "the registry does not answer")
        page.reload()
        expect(page.locator("#notice")).to_have_text("The registry does not answer.")
        expect(page.locator("#notice")).to_be_visible()
