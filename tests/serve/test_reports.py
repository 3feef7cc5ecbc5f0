"""Mistake reports."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.serving import a_client, refusal


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
