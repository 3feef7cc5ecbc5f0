"""What is asked over HTTP is answered, or refused in one form: cases H01 to H30 that need no real connection."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from pipelines.serve.app import ASSETS
from pipelines.serve.limits import CHARACTERS, TEXTS
from pipelines.serve.schema import Score
from pipelines.serve.served import Facts, Shelf
from tests.faults import shows
from tests.serving import LABELS, MadeUp, a_client, a_model, a_shelf, refusal

PREDICT = "/v1/predict"
JSON = {"Content-Type": "application/json"}


def ask(body: bytes | str, **how: Any) -> Any:
    content = body.encode() if isinstance(body, str) else body
    return a_client().post(PREDICT, content=content, headers=how.pop("headers", JSON), **how)


# What is answered


def test_one_text_is_answered_with_label_probabilities_and_the_version() -> None:
    answer = a_client().post(PREDICT, json={"text": "good film"})
    assert answer.status_code == 200
    assert answer.json() == {
        "model": {"name": "sentiment", "version": "3", "alias": "champion"},
        "predictions": [
            {
                "label": "good",
                "probability": 0.75,
                "probabilities": {"bad": 0.25, "good": 0.75},
                "truncated": False,
                "influence": None,
            }
        ],
    }


def test_many_texts_are_answered_in_their_order() -> None:
    texts = ["good", "dull", "good good good", "long " * 13]
    found = a_client().post(PREDICT, json={"texts": texts}).json()["predictions"]
    assert [one["probabilities"]["good"] for one in found] == [0.75, 0.5, 0.875, 0.5]
    assert [one["truncated"] for one in found] == [False, False, False, True]


def test_champion_and_challenger_answer_side_by_side() -> None:
    shelf = a_shelf()
    with a_client(shelf) as client:
        asked = {"text": "good", "alias": "challenger"}
        assert refusal(client.post(PREDICT, json=asked)) == (404, "no_such_alias", "alias")
        shelf.put("challenger", a_model("4"))
        assert client.post(PREDICT, json=asked).json()["model"] == {
            "name": "sentiment",
            "version": "4",
            "alias": "challenger",
        }
        assert client.post(PREDICT, json={"text": "good", "alias": "champion"}).json()["model"]["version"] == "3"


def test_a_version_by_number_has_no_alias() -> None:
    shelf = Shelf("7")
    shelf.put("7", a_model("7"))
    answer = a_client(shelf).post(PREDICT, json={"text": "good"}).json()
    assert answer["model"] == {"name": "sentiment", "version": "7", "alias": None}


def test_influence_is_the_probability_with_a_word_minus_without_it() -> None:
    text = "🙂 good, naïve  good film"
    found = a_client().post(PREDICT, json={"text": text, "influence": True}).json()["predictions"][0]["influence"]
    assert (found["method"], found["label"]) == ("leave-one-out", "good")
    units = text.encode("utf-16-le")
    words = [units[2 * one["start"] : 2 * one["end"]].decode("utf-16-le") for one in found["words"]]
    assert words == ["🙂", "good,", "naïve", "good", "film"]
    assert [one["effect"] for one in found["words"]] == pytest.approx([0, 0, 0, 0.25, 0])


def test_influence_of_a_long_text_is_measured_in_parts_and_for_its_first_words() -> None:
    runtime = MadeUp()
    answer = a_client(a_shelf(a_model(runtime=runtime))).post(PREDICT, json={"text": "word " * 500, "influence": True})
    assert len(answer.json()["predictions"][0]["influence"]["words"]) == 200
    assert max(map(len, runtime.asked)) == 32
    assert sum(map(len, runtime.asked)) == 201


def test_the_model_page_says_what_is_served() -> None:
    scores = {"accuracy": Score(value=0.8, low=0.75, high=0.85)}
    facts = Facts("# A card", scores, study="quickstart", base_model="minilm", calibrated=True)
    shelf = a_shelf(a_model(facts=facts))
    shelf.put("challenger", a_model("4"))
    found = a_client(shelf).get("/v1/model").json()
    assert found == {
        "name": "sentiment",
        "version": "3",
        "alias": "champion",
        "runtime": "torch",
        "labels": list(LABELS),
        "max_length": 12,
        "calibrated": True,
        "scores": {"accuracy": {"value": 0.8, "low": 0.75, "high": 0.85}},
        "study": "quickstart",
        "base_model": "minilm",
        "card": "# A card",
        "challenger": {"name": "sentiment", "version": "4", "scores": {}},
        "reports": False,
        "limits": {"texts": 32, "characters": 10_000, "body_bytes": 65_536},
        "notice": None,
    }


def test_metrics_count_requests_by_page_and_never_by_a_strangers_path() -> None:
    with a_client() as client:
        client.post(PREDICT, json={"texts": ["good", "bad"]})
        client.post(PREDICT, json={})
        client.get("/CANARY")
        found = client.get("/metrics").text
    assert 'hpo_requests_total{path="/v1/predict",status="200"} 1.0' in found
    assert 'hpo_requests_total{path="/v1/predict",status="422"} 1.0' in found
    assert 'hpo_requests_total{path="other",status="404"} 1.0' in found
    assert "hpo_batch_texts_sum 2.0" in found
    assert "hpo_waiting_texts 0.0" in found
    assert "CANARY" not in found


def test_every_answer_has_the_security_headers_and_none_lets_other_origins_read() -> None:
    with a_client() as client:
        answers = [
            client.get("/"),
            client.get("/v1/model"),
            client.get("/nothing"),
            client.post(PREDICT, json={}),
            client.get("/", headers={"Host": "evil.example"}),
            client.options(PREDICT, headers={"Access-Control-Request-Method": "POST"}),
        ]
    for answer in answers:
        assert answer.headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answers[0].headers["cache-control"] == "no-cache"
    assert answers[1].headers["cache-control"] == "no-store"
    assert answers[-1].status_code == 405


def test_a_token_is_asked_for_where_there_is_one(caplog: pytest.LogCaptureFixture) -> None:
    with a_client(token="CANARY-token") as client:
        for path in ("/v1/model", "/metrics", "/v1/nothing"):
            answer = client.get(path)
            assert refusal(answer) == (401, "no_token", None)
            assert answer.headers["www-authenticate"] == "Bearer"
        for given in ("Bearer CANARY-toke", "Bearer ", "Basic CANARY-token", "CANARY-token", "Bearer CANARY-tokeñ"):
            assert client.get("/v1/model", headers={"Authorization": given.encode()}).status_code == 401
        assert client.get("/v1/model", headers={"Authorization": "Bearer CANARY-token"}).status_code == 200
        assert [client.get(path).status_code for path in ("/", "/healthz", "/readyz")] == [200, 200, 200]
        assert "CANARY" not in client.get("/openapi.json").text
    assert "CANARY" not in caplog.text


def test_a_bug_is_answered_without_a_word_about_it_and_the_log_has_no_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = ask('{"text": "poison CANARY"}')
    assert refusal(answer) == (500, "internal", None)
    assert "CANARY" not in answer.text
    assert "a request failed: RuntimeError" in caplog.text
    assert "probabilities" in caplog.text, "the log says where"
    assert "CANARY" not in caplog.text


@shows("not finite", "K")
def test_an_answer_that_is_no_number_is_none() -> None:
    assert refusal(ask('{"text": "NaN"}')) == (503, "not_finite", None)
    found = a_client().post(PREDICT, json={"text": "good"})
    assert found.status_code == 200


# What is refused


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


# Mistake reports


def test_a_mistake_report_is_a_line_that_a_study_reads_as_data(tmp_path: Path) -> None:
    from pipelines.config import DataConfig
    from pipelines.data import load_data

    file = tmp_path / "reports.jsonl"
    with a_client(reports=file) as client:
        assert client.get("/v1/model").json()["reports"] is True
        for number in range(60):
            label, predicted = ("bad", "good") if number % 2 else ("good", "bad")
            report = {"text": f'text "{number}"\nwith a second line, 🙂', "predicted": predicted, "label": label}
            answer = client.post("/v1/reports", json=report)
            assert (answer.status_code, answer.json()) == (201, {"stored": True})
    assert file.stat().st_mode & 0o777 == 0o600
    data = load_data(DataConfig(source=str(file), text="text", label="label"))
    assert data.labels == ("bad", "good")
    assert sum(len(split) for split in data.splits.values()) == 60
    first = json.loads(file.read_text().splitlines()[0])
    assert (first["label"], first["predicted"], first["model"]) == ("good", "bad", "sentiment/3")


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"text": "dull", "predicted": "good", "label": "ugly"}, (422, "unknown_label", "label")),
        ({"text": "dull", "predicted": "ugly", "label": "good"}, (422, "unknown_label", "predicted")),
        ({"text": " ", "predicted": "good", "label": "bad"}, (422, "blank_text", "text")),
        ({"text": "dull", "label": "bad"}, (422, "missing_field", "predicted")),
        ({"text": "dull", "predicted": "good", "label": "bad", "x": 1}, (422, "unknown_field", "x")),
    ],
)
def test_a_report_that_says_nothing_is_refused(report: dict[str, Any], expected: Any, tmp_path: Path) -> None:
    with a_client(reports=tmp_path / "reports.jsonl") as client:
        assert refusal(client.post("/v1/reports", json=report)) == expected
    assert (tmp_path / "reports.jsonl").read_bytes() == b""
