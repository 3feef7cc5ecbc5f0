"""The page with many texts, pasted or in a file."""

import csv
import io
import json
import re
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from .browsing import Words, a_file, champion, classify, host, results, shelf, visit


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
