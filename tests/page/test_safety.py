"""What the page shows of the model, light and dark, and that no text of others does anything."""

import re
from dataclasses import replace

from playwright.sync_api import Browser, Page, expect

from .browsing import HOSTILE, Words, a_file, champion, classify, host, shelf, visit, write


def test_the_model_its_scores_and_its_card_are_shown(page: Page) -> None:
    page.click("nav >> text=The model")
    expect(page.locator("#model-title")).to_be_focused()
    expect(page.locator("#facts")).to_contain_text("minilm")
    expect(page.locator("#scores tbody").first).to_have_text(
        re.compile(r"accuracy\s*0\.829\s*0\.811 to 0\.845\s*0\.829")
    )
    card = page.locator("#card")
    expect(card.locator("h3")).to_have_text("sentiment")
    expect(card.locator("p").first).to_have_text(
        f"Told apart: negative and positive, code {HOSTILE}. {HOSTILE} [a link](javascript:document.title='hacked')"
    )
    expect(card.locator("em, strong")).to_have_text(["negative", "positive"])
    assert card.locator("th, td").all_inner_texts() == ["class", "F1 | more", HOSTILE, "0.82"]
    expect(card.locator("li")).to_have_text(["first", "second, a * b_c_d [x] 1 < 2 & 3"])
    expect(card.locator("pre")).to_have_text('print("<b>as it is</b>")')
    assert card.locator("a, img, script").count() == 0


def test_dark_follows_the_system_until_somebody_chooses(browser: Browser, address: str) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    with visit(browser, address, color_scheme="dark") as page:
        button = page.get_by_role("button", name="Dark mode")
        expect(button).to_have_attribute("aria-pressed", "true")
        dark = page.evaluate(paper)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "false")
        light = page.evaluate(paper)
        assert (dark, light) == ("rgb(20, 24, 28)", "rgb(251, 251, 249)")
        page.reload()
        assert page.evaluate(paper) == light
        expect(button).to_have_attribute("aria-pressed", "false")


def test_h26_hostile_texts_cells_labels_and_cards_are_shown_as_text_and_do_nothing(browser: Browser) -> None:
    labels = (HOSTILE, '"><svg onload=alert(1)>')
    model = replace(champion(Words(labels)), name=HOSTILE)
    with host(browser, shelf(model)) as page:
        expect(page.locator("h1")).to_have_text(HOSTILE)
        write(page, f"good {HOSTILE}")
        expect(page.locator(".answer-head .label")).to_have_text(labels[1])
        expect(page.locator(".answer .bars .label")).to_have_text(labels)
        page.click("nav >> text=Many texts")
        page.set_input_files(
            "#file", a_file(f'"{HOSTILE.replace(chr(34), chr(34) * 2)}"\njavascript:alert(1)\n', name="<b>.csv")
        )
        expect(page.locator("#file-name")).to_have_text("<b>.csv")
        expect(page.locator("#column option")).to_have_text([HOSTILE])
        page.uncheck("#header")
        classify(page, 2)
        expect(page.locator("#rows .text")).to_have_text([HOSTILE, "javascript:alert(1)"])
        page.click("nav >> text=The model")
        made = page.evaluate(
            "document.querySelectorAll('body script, body img, body svg, body b, [onerror], [onload]').length"
        )
        assert made == 0
        assert page.title() == f"{HOSTILE}: text classifier"
