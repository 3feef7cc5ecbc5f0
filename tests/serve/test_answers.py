"""What the server answers."""

import logging

import pytest

from pipelines.serve.schema import Score
from pipelines.serve.served import Facts, Shelf
from tests.faults import shows
from tests.serving import LABELS, MadeUp, a_client, a_model, a_shelf, refusal

from .asking import PREDICT, ask


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
