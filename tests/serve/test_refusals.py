"""What the server refuses, and how (H01 to H30)."""

import json
from pathlib import Path

import pytest

from pipelines.serve.app import ASSETS
from pipelines.serve.limits import CHARACTERS, TEXTS
from pipelines.serve.served import Shelf
from tests.serving import MadeUp, a_client, a_model, a_shelf, refusal

from .asking import JSON, PREDICT, ask


@pytest.mark.parametrize(
    ("case", "body", "expected"),
    [
        ("H01 empty body", b"", (400, "empty_body", None)),
        ("H02 not JSON", b"text=good", (400, "not_json", None)),
        ("H02 cut off", b'{"text": "good"', (400, "not_json", None)),
        ("H02 no object", b'"good"', (422, "not_an_object", None)),
        ("H02 a list", b'["good"]', (422, "not_an_object", None)),
        ("H02 null", b"null", (422, "not_an_object", None)),
        ("H04 missing", b"{}", (422, "missing_field", "text")),
        ("H04 null", b'{"text": null}', (422, "not_text", "text")),
        ("H04 number", b'{"text": 5}', (422, "not_text", "text")),
        ("H04 nested", b'{"text": {"text": "good"}}', (422, "not_text", "text")),
        ("H04 list", b'{"text": ["good"]}', (422, "not_text", "text")),
        ("H04 null among texts", b'{"texts": ["good", null]}', (422, "not_text", "texts[1]")),
        ("H04 no list", b'{"texts": "good"}', (422, "not_a_list", "texts")),
        ("H05 empty", b'{"text": ""}', (422, "blank_text", "text")),
        ("H05 blank", '{"text": " \\t\\n\u00a0\u3000"}'.encode(), (422, "blank_text", "text")),
        ("H05 blank among texts", b'{"texts": ["good", " "]}', (422, "blank_text", "texts[1]")),
        ("H06 no texts", b'{"texts": []}', (422, "no_texts", "texts")),
        ("H07 too many", json.dumps({"texts": ["a"] * (TEXTS + 1)}).encode(), (422, "too_many_texts", "texts")),
        ("H08 too long", json.dumps({"text": "a" * (CHARACTERS + 1)}).encode(), (422, "text_too_long", "text")),
        ("H11 invalid UTF-8", b'{"text": "\xff"}', (400, "not_utf8", None)),
        ("H11 UTF-16", '{"text": "good"}'.encode("utf-16"), (400, "not_utf8", None)),
        ("H11 byte order mark", b'\xef\xbb\xbf{"text": "good"}', (400, "not_json", None)),
        ("H12 lone surrogate", b'{"text": "\\ud800"}', (422, "not_unicode", "text")),
        ("H12 in a field's name", b'{"text": "good", "\\ud800": 1}', (422, "not_unicode", None)),
        ("H13 NUL", b'{"text": "go\\u0000od"}', (422, "nul_character", "text")),
        ("H13 raw NUL", b'{"text": "go\x00od"}', (400, "not_json", None)),
        ("H14 brackets", b"[" * 10_000, (400, "not_json", None)),
        ("H14 braces", b'{"text":' * 5_000, (400, "not_json", None)),
        ("H15 huge integer", b'{"text": ' + b"9" * 10_000 + b"}", (400, "not_json", None)),
        ("H15 NaN", b'{"text": NaN}', (400, "not_json", None)),
        ("H15 infinity", b'{"text": "good", "influence": -Infinity}', (400, "not_json", None)),
        ("H15 large number", b'{"text": 1e999}', (422, "not_text", "text")),
        ("H15 doubled key", b'{"text": "good", "text": "bad"}', (400, "doubled_key", None)),
        ("H16 unknown field", b'{"text": "good", "txet": 1}', (422, "unknown_field", "txet")),
        ("H16 both", b'{"text": "good", "texts": ["good"]}', (422, "unknown_field", "text")),
        ("H16 influence of many", b'{"texts": ["good"], "influence": true}', (422, "unknown_field", "influence")),
        ("H16 no boolean", b'{"text": "good", "influence": 1}', (422, "not_a_boolean", "influence")),
        ("H16 unknown alias", b'{"text": "good", "alias": "x"}', (422, "unknown_alias", "alias")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_bodies_are_refused_with_the_place(case: str, body: bytes, expected: tuple[int, str, str | None]) -> None:
    assert refusal(ask(body)) == expected, case


def test_h14_depth_is_named_as_the_fault() -> None:
    assert ask(b"[" * 10_000).json()["error"]["message"] == "the body is nested too deeply"


def test_what_is_just_allowed_is_answered() -> None:
    """H07, H08: the limits themselves."""
    with a_client() as client:
        assert client.post(PREDICT, json={"texts": ["a"] * TEXTS}).status_code == 200
        assert client.post(PREDICT, json={"text": "a" * CHARACTERS}).status_code == 200
        body = json.dumps({"text": "a"}).encode()
        full = client.post(PREDICT, content=body + b" " * (65_536 - len(body)), headers=JSON)
        assert full.status_code == 200
        over = client.post(PREDICT, content=body + b" " * (65_537 - len(body)), headers=JSON)
        assert refusal(over) == (413, "body_too_large", None)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=latin-1", 415),
        ("application/jsonp", 415),
        ("", 415),
        (None, 415),
    ],
)
def test_h03_another_content_type_is_refused(kind: str | None, status: int) -> None:
    answer = ask('{"text": "good"}', headers={} if kind is None else {"Content-Type": kind})
    assert answer.status_code == status
    if status == 415:
        assert refusal(answer)[1] == "not_json"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"])
def test_h17_another_method_is_refused_with_the_right_one(method: str) -> None:
    answer = a_client().request(method, PREDICT)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    if method != "HEAD":
        assert refusal(answer) == (405, "wrong_method", None)


@pytest.mark.parametrize("path", ["/nothing", "/v1/predict/", "/v1/reports", "/docs", "/redoc", "/v2/predict"])
def test_h18_an_unknown_path_is_refused(path: str) -> None:
    with a_client() as client:
        for answer in (client.get(path), client.post(path, json={"text": "good"})):
            assert refusal(answer) == (404, "not_found", None)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example:8000", 421),
        ("localhost@evil.example", 421),
        ("localhost:8000:8000", 421),
        ("127.0.0.2", 421),
        ("", 421),
    ],
)
def test_h19_only_exact_host_names_are_answered(host: str, status: int) -> None:
    assert a_client().get("/healthz", headers={"Host": host}).status_code == status


def test_h20_two_hosts_are_refused() -> None:
    answer = a_client().get("/healthz", headers=[("Host", "localhost"), ("Host", "evil.example")])
    assert refusal(answer) == (400, "doubled_header", None)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 200),
        ("https://localhost:8000", 200),
        ("http://localhost:9000", 403),
        ("http://localhost", 403),
        ("https://evil.example", 403),
        ("http://localhost:8000.evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_h21_pages_of_other_origins_may_not_ask(origin: str, status: int) -> None:
    answer = ask('{"text": "good"}', headers=JSON | {"Origin": origin})
    assert answer.status_code == status
    if status == 403:
        assert refusal(answer)[1] == "foreign_origin"


SCRIPTS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><svg/onload=alert(1)>",
    "{{7*7}} ${7*7} <%= 7 %>",
    "javascript:alert(1)",
    "'; DROP TABLE texts; --",
]


@pytest.mark.parametrize("text", SCRIPTS)
def test_h26_markup_is_a_text_as_any_other_and_the_answer_is_json(text: str) -> None:
    answer = a_client().post(PREDICT, json={"text": text, "influence": True})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert text not in answer.text, "no text comes back"


def test_h26_markup_in_a_class_name_comes_back_as_json() -> None:
    runtime = MadeUp(("<script>", "</script><img src=x onerror=alert(1)>"))
    answer = a_client(a_shelf(a_model(runtime=runtime))).post(PREDICT, json={"text": "good"})
    assert answer.json()["predictions"][0]["label"] == "</script><img src=x onerror=alert(1)>"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../app.py",
        "/assets/%2e%2e/app.py",
        "/assets/..%2fapp.py",
        "/assets/%2e%2e%2f%2e%2e%2fapp.py",
        "/assets/....//app.py",
        "/assets//etc/passwd",
        "/assets/app.js%00.html",
        "/assets/index.html",
        "/assets/",
        "/assets/app.js/",
        "//etc/passwd",
        "/index.html",
    ],
)
def test_h27_no_file_but_the_listed_ones_is_given_out(path: str) -> None:
    with a_client() as client:
        assert refusal(client.get(f"http://localhost:8000{path}")) == (404, "not_found", None)


def test_the_page_is_given_out_file_by_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, _ in ASSETS.values():
        (tmp_path / name).write_text(f"content of {name}")
    monkeypatch.setattr("pipelines.serve.app._PAGE", tmp_path)
    with a_client() as client:
        for path, (name, kind) in ASSETS.items():
            answer = client.get(path)
            assert (answer.text, answer.headers["content-type"]) == (f"content of {name}", kind)
            assert client.head(path).status_code == 200


def test_h29_without_a_model_the_reason_is_told() -> None:
    shelf = Shelf("champion")
    with a_client(shelf) as client:
        shelf.note("champion", "version 3 was refused")
        for answer in (client.get("/readyz"), client.get("/v1/model"), client.post(PREDICT, json={"text": "good"})):
            assert refusal(answer) == (503, "no_model", None)
            assert answer.json()["error"]["message"] == "version 3 was refused"
            assert answer.headers["retry-after"] == "5"
        assert client.get("/healthz").json() == {"status": "alive", "notice": None}
        shelf.put("champion", a_model())
        assert client.get("/readyz").json() == {"status": "ready", "notice": None}
