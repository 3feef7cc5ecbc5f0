"""The page at `/`, in a real Chromium against the real server with a made-up model.

Screenshots are written to `out/screenshots/`, which git ignores.
"""

import csv
import io
import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from pipelines.serve.served import Shelf
from tests.browsing import (
    CONTRASTS,
    HOSTILE,
    MIXED,
    Words,
    a_file,
    champion,
    chromium,
    classify,
    host,
    keep,
    results,
    shelf,
    visit,
    write,
)
from tests.serving import live


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
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


# One text


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


# Many texts


def test_a_csv_file_comes_back_with_labels_in_order(page: Page) -> None:
    sent: list[dict[str, Any]] = []
    page.on("request", lambda request: sent.append(json.loads(request.post_data)) if request.post_data else None)
    texts = [
        "good",
        "dull, or not",
        'it is "good"',
        "two\nlines, good",
        "=1+1",
        "-5",
        "",
        "good " * 1_500,
        "x" * 10_001,
        *["dull"] * 80,
    ]
    file = io.StringIO(newline="")
    csv.writer(file).writerows(
        [["id", "text", "label"], *([f"@{place}", text, "old"] for place, text in enumerate(texts))]
    )
    page.click("nav >> text=Many texts")
    page.set_input_files("#file", a_file(file.getvalue()))
    expect(page.locator("#file-size")).to_have_text("89 rows, 3 columns")
    expect(page.locator("#column")).to_have_value("1")
    classify(page, 87)
    expect(page.locator("#results-note")).to_have_text("2 texts could not be classified: the download says why.")
    expect(page.locator("#shares li")).to_have_text(
        [re.compile(r"negative\s*81 · 93\.1\s%"), re.compile(r"positive\s*6 · 6\.9\s%")]
    )
    rows = results(page)
    assert list(rows[0]) == [
        "id",
        "text",
        "label",
        "predicted label",
        "probability",
        "probability of negative",
        "probability of positive",
        "model",
        "problem",
    ]
    assert [row["text"] for row in rows] == [f"'{text}" if text == "=1+1" else text for text in texts]
    assert rows[0]["id"] == "'@0"
    assert [row["predicted label"] for row in rows[:6]] == [
        "positive",
        "negative",
        "positive",
        "positive",
        "positive",
        "positive",
    ]
    assert float(rows[1]["probability of negative"]) == pytest.approx(0.891, abs=0.001)
    assert rows[0]["model"] == "sentiment/7"
    assert [(row["predicted label"], row["problem"]) for row in rows[6:9]] == [
        ("", "blank"),
        ("positive", "longer than the model reads"),
        ("", "longer than 10000 characters"),
    ]
    assert max(len(body["texts"]) for body in sent) <= 32
    assert sum(len(body["texts"]) for body in sent) == 87


def test_requests_stay_within_the_bodys_limit_whatever_the_texts(page: Page) -> None:
    sizes: list[int] = []
    page.on("request", lambda request: sizes.append(len(request.post_data_buffer or b"")))
    page.click("nav >> text=Many texts")
    page.fill("#lines", "\n".join(["🙂" * 9_000, "\\" * 9_000, "ü" * 10_000] * 4))
    classify(page, 12)
    assert max(sizes) <= 65_536
    assert 4 <= len([size for size in sizes if size]) <= 8


def test_a_file_can_be_dropped_and_its_column_chosen(page: Page) -> None:
    page.click("nav >> text=Many texts")
    drop = """content => {
      const carried = new DataTransfer();
      carried.items.add(new File([content], "semicolons.csv"));
      const how = { dataTransfer: carried, bubbles: true, cancelable: true };
      for (const type of ["dragenter", "dragover", "drop"]) {
        document.getElementById("many").dispatchEvent(new DragEvent(type, how));
      }
    }"""
    page.evaluate(drop, "a;b\ngood;a dull and lifeless one\ndull;another that is only longer\n")
    expect(page.locator("#file-name")).to_have_text("semicolons.csv")
    expect(page.locator("#preview li")).to_have_text(["a dull and lifeless one", "another that is only longer"])
    page.select_option("#column", label="a")
    page.uncheck("#header")
    expect(page.locator("#preview li")).to_have_text(["a", "good", "dull"])
    classify(page, 3)
    assert [row["label"] for row in results(page)] == ["positive", "positive", "negative"]
    page.click("text=Remove")
    expect(page.locator("#lines")).to_be_focused()


def test_pasted_lines_wait_for_a_busy_server_and_lose_nothing_to_one_bad_text(browser: Browser, address: str) -> None:
    refusals = iter([503, 429])

    def refuse(route: Route) -> None:
        status = next(refusals, None)
        if status is None:
            route.continue_()
        else:
            error = {"error": {"code": "busy", "message": "too many texts are waiting", "where": None}}
            route.fulfill(status=status, headers={"Retry-After": "0.3"}, json=error)

    with visit(browser, address, refusals=True) as page:
        page.route("**/v1/predict", refuse)
        page.click("nav >> text=Many texts")
        page.fill("#lines", "good\n\ndull\n\ud800 lone\nNaN\ngood good\n")
        expect(page.locator("#classify")).to_have_text("Classify 5 texts")
        page.click("#classify")
        expect(page.locator("#progress-words")).to_have_text("Too many texts are waiting. Trying again …")
        expect(page.locator("#results-title")).to_have_text("5 texts classified")
        assert [row["label"] for row in results(page)] == ["positive", "negative", "positive", "positive", "positive"]


def test_texts_that_the_server_refuses_cost_the_others_nothing(browser: Browser) -> None:
    def hold(texts: Sequence[str]) -> None:
        if any("poison" in text for text in texts):
            raise RuntimeError("cannot read this")

    runtime = Words()
    runtime.hold = hold
    with host(browser, shelf(champion(runtime)), view="#many", refusals=True) as page:
        page.fill("#lines", "\n".join(["good"] * 5 + ["poison"] + ["dull"] * 4))
        classify(page, 9)
        rows = results(page)
    assert [row["label"] for row in rows] == ["positive"] * 5 + [""] + ["negative"] * 4
    assert rows[5]["problem"] == "the server failed; its log says where"


def test_cancelling_keeps_what_was_answered(browser: Browser) -> None:
    runtime, release = Words(), threading.Event()
    runtime.hold = lambda texts: None if len(runtime.asked) < 2 else (release.wait(20), None)[1]
    with host(browser, shelf(champion(runtime)), view="#many") as page:
        page.fill("#lines", "good\n" * 50)
        page.click("#classify")
        expect(page.locator("#progress-words")).to_have_text("32 of 50")
        page.click("#cancel")
        expect(page.locator("#results-title")).to_have_text("32 texts classified")
        expect(page.locator("#many-problem")).to_have_text("Cancelled.")
        release.set()
        expect(page.locator("#results-note")).to_have_text("18 texts not classified yet.")
        assert [row["problem"] for row in results(page)] == [""] * 32 + ["not classified"] * 18


def test_files_that_cannot_be_read_say_why(page: Page) -> None:
    page.click("nav >> text=Many texts")
    for content, said in {
        b"a,b\n1,2\n1,2,3\n": "row 3 has 3 cells, the first one 2; "
        "a cell that holds a comma must stand in quotation marks.",
        b'a\n"never closed': "row 2: a quotation mark is never closed.",
        b'a\n"x"y\n': "row 2: there is something behind a closing quotation mark.",
        b"caf\xe9": "it is not UTF-8; save it as “CSV UTF-8” and take it again.",
        b"": "it is empty.",
    }.items():
        page.set_input_files("#file", {"name": "f.csv", "mimeType": "text/csv", "buffer": content})
        expect(page.locator("#many-problem")).to_have_text(f"f.csv was not taken: {said}")
    page.set_input_files("#file", a_file("text\ngood\n"))
    expect(page.locator("#many-problem")).to_be_empty()


def test_the_reader_and_writer_of_csv_know_rfc_4180(page: Page) -> None:
    read = "text => import('/assets/csv.js').then(({ readCsv }) => readCsv(text))"
    for text, rows in {
        "a,b\r\n1,2": [["a", "b"], ["1", "2"]],
        '\ufeff"a ""b"", c","d\r\ne"\n\n,\n': [['a "b", c', "d\r\ne"], ["", ""]],
        "a\tb\n1\t2, or 3\n": [["a", "b"], ["1", "2, or 3"]],
        '"a;b";c\n1;2\n': [["a;b", "c"], ["1", "2"]],
        "a\rb\r": [["a"], ["b"]],
        'a,\n1,"': None,
        "a,b\n1,": [["a", "b"], ["1", ""]],
        "": [],
    }.items():
        if rows is not None:
            assert page.evaluate(read, text) == rows
    cells = ["=1", "+a", "-1.5", "-a", "@x", "\tx", " =1", "1e-5", "+49", 'a"b', "a,b", "a;b", "two\nlines", "", "ok"]
    written = page.evaluate("rows => import('/assets/csv.js').then(({ writeCsv }) => writeCsv(rows))", [cells])
    (back,) = csv.reader(io.StringIO(written.removeprefix("\ufeff"), newline=""), strict=True)
    formulas = {"=1", "+a", "-a", "@x", "\tx", " =1"}
    assert back == [f"'{cell}" if cell in formulas else cell for cell in cells]


# The model, light and dark, safety


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


# The keyboard, a narrow window, what the eye can read


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


# When it does not go well


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
