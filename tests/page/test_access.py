"""The keyboard, a narrow window, what the eye can read."""

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from .browsing import CONTRASTS, HOSTILE, MIXED, Words, a_file, champion, classify, host, keep, shelf, write


def focused(page: Page) -> str:
    """What has the focus, in words; it must be seen, unless the browser itself has it."""
    name, is_seen = page.evaluate("""() => {
      const at = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(at.id === "file" ? at.nextElementSibling : at);
      const isSeen = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
      return [at.id || at.textContent.trim(), isSeen || at === document.body];
    }""")
    assert is_seen, name
    return str(name)


def tab_to(page: Page, wanted: str) -> None:
    for _ in range(20):
        page.keyboard.press("Tab")
        if focused(page) == wanted:
            return
    raise AssertionError(f"Tab never came to {wanted}")


def test_everything_can_be_done_with_the_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    tab_to(page, "text")
    page.keyboard.type("good")
    expect(page.locator(".answer-head .label")).to_have_text("positive")
    tab_to(page, "compare")
    page.keyboard.press("Space")
    expect(page.locator(".answer .kicker")).to_have_count(2)
    tab_to(page, "one of the year’s best films")
    page.keyboard.press("Enter")
    expect(page.locator("#text")).to_have_value("one of the year’s best films")
    page.reload()
    tab_to(page, "Many texts")
    page.keyboard.press("Enter")
    expect(page.locator("#many-title")).to_be_focused()
    tab_to(page, "lines")
    page.keyboard.type("good\ndull")
    tab_to(page, "file")
    tab_to(page, "classify")
    page.keyboard.press("Enter")
    expect(page.locator("#results-title")).to_be_focused()
    with page.expect_download():
        tab_to(page, "download")
        page.keyboard.press("Enter")


def test_every_control_has_a_name_and_the_page_has_landmarks(page: Page) -> None:
    write(page, MIXED)
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1  # type: ignore[arg-type]
    page.evaluate("document.querySelectorAll('[hidden]').forEach(one => { one.hidden = false; })")
    nameless = page.evaluate("""() => {
      const words = (one) => (one.labels?.[0] ?? one).textContent.trim();
      const named = (one) => one.ariaLabel || one.getAttribute("aria-labelledby") || words(one);
      const all = "input, textarea, select, button, progress, ul.bars, [role=group], [role=region]";
      return [...document.querySelectorAll(all)].filter((one) => !named(one)).map((one) => one.id || one.outerHTML);
    }""")
    assert nameless == ["banner-button"], "which gets its words together with the banner's"
    expect(page.locator("#spoken")).to_have_attribute("aria-live", "polite")


NARROW = {"width": 360, "height": 740}


def test_a_narrow_window_never_scrolls_sideways(browser: Browser) -> None:
    labels = ("negative", "a_label_that_is_long_and_has_no_blank_where_it_could_be_broken")
    second = champion(Words(labels, bias=-0.5), version="8")
    served = shelf(replace(champion(Words(labels)), name="a-model-with-a-name-that-is-rather-long-and-goes-on"))
    served.put("challenger", second)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    with host(browser, served, look={"viewport": NARROW}) as page:
        assert page.evaluate(overflow) <= 0
        page.check("#compare")
        page.fill("#text", f"good {'x' * 500} dull")
        expect(page.locator(".legend")).to_have_count(2)
        assert page.evaluate(overflow) <= 0
        page.click("nav >> text=Many texts")
        page.set_input_files(
            "#file",
            a_file(f"text,{'y' * 200}\n{'good' * 200},\n{HOSTILE.replace(chr(34), '')},\n", name=f"{'z' * 100}.csv"),
        )
        classify(page, 2)
        assert page.evaluate(overflow) <= 0
        page.click("nav >> text=The model")
        assert page.evaluate(overflow) <= 0


@pytest.mark.parametrize(
    "size", [{"width": 1280, "height": 900}, {"width": 390, "height": 844}], ids=["wide", "narrow"]
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read_and_pictures_are_kept(
    browser: Browser, scheme: str, size: dict[str, int], tmp_path: Path
) -> None:
    name = f"{'wide' if size['width'] > 600 else 'narrow'}-{scheme}"
    look = {"viewport": size, "color_scheme": scheme, "reduced_motion": "reduce"}
    with host(browser, shelf(rival=True), look=look, reports=tmp_path / "reports.jsonl") as page:
        expect(page.locator(".empty")).to_contain_text("positive")
        keep(page, f"empty-{name}")
        write(page, f"{MIXED} I wanted to like it more than I did.")
        keep(page, f"try-{name}")
        contrasts = page.evaluate(CONTRASTS)
        page.check("#compare")
        write(page, MIXED)
        expect(page.locator(".legend")).to_have_count(2)
        page.click("text=Wrong?")
        keep(page, f"compare-{name}")
        contrasts += page.evaluate(CONTRASTS)
        page.click("nav >> text=Many texts")
        page.set_input_files(
            "#file",
            a_file(
                "id,review\n"
                + "".join(
                    f"{place},a {word} film that goes on for longer than anybody asked it to\n"
                    for place, word in enumerate(["good", "dull", "thin", ""] * 12)
                )
            ),
        )
        classify(page, 48)
        keep(page, f"many-{name}")
        contrasts += page.evaluate(CONTRASTS)
        page.click("nav >> text=The model")
        page.click("summary")
        keep(page, f"model-{name}")
        contrasts += page.evaluate(CONTRASTS)
    assert len(contrasts) > 100
    assert [found for found in contrasts if found[0] < 4.5] == []
