"""The OpenAPI document is true: whatever it allows is answered as it says, and whatever it forbids is refused."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pipelines.serve.app import build
from pipelines.serve.metrics import Metrics
from tests import serving

TOKEN = "a-token"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
BOUNDED = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Any:
    shelf = serving.a_shelf()
    reports: Path = tmp_path_factory.mktemp("reports") / "reports.jsonl"
    app = build(shelf, settings=serving.settings(token=TOKEN, reports=reports), metrics=Metrics())
    return schemathesis.openapi.from_asgi("/openapi.json", app)


PAGES = {
    ("post", "/v1/predict"),
    ("get", "/v1/model"),
    ("post", "/v1/reports"),
    ("get", "/metrics"),
    ("get", "/healthz"),
    ("get", "/readyz"),
}


@pytest.mark.parametrize(("method", "path"), sorted(PAGES))
def test_what_the_document_allows_is_answered_as_it_says(method: str, path: str, document: Any) -> None:
    # A label must be one of the model's classes, and those change with the model, not with the document.
    excluded = [positive_data_acceptance] if path == "/v1/reports" else []

    @BOUNDED
    @given(case=document[path][method].as_strategy(generation_mode=GenerationMode.POSITIVE))
    def kept(case: Any) -> None:
        case.call_and_validate(headers=AUTHORIZED, excluded_checks=excluded)

    kept()


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/reports"])
def test_what_the_document_forbids_is_refused(path: str, document: Any) -> None:
    @BOUNDED
    @given(case=document[path]["post"].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def kept(case: Any) -> None:
        answer = case.call(headers=AUTHORIZED)
        if answer.status_code != 413:  # a refusal too, which schemathesis does not count as one
            case.validate_response(answer)

    kept()


def test_all_pages_stand_in_the_document(document: Any) -> None:
    pages = {(operation.ok().method, operation.ok().path) for operation in document.get_all_operations()}
    assert pages == PAGES


def test_every_refusal_that_the_document_names_has_the_one_form(document: Any) -> None:
    raw = document.raw_schema
    for path, methods in raw["paths"].items():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    shape = answer["content"]["application/json"]["schema"]
                    assert shape == {"$ref": "#/components/schemas/Error"}, (path, status)
    assert set(raw["components"]["schemas"]["Fault"]["properties"]) == {"code", "message", "where"}
    assert raw["paths"]["/v1/predict"]["post"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in raw["paths"]["/healthz"]["get"]
