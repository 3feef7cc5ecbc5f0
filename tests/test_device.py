"""The arithmetic is chosen by measurement, once, with its reason; what was asked for is not second-guessed."""

from pathlib import Path

import pytest
import torch

from pipelines import device
from pipelines.config import RunConfig, TrainConfig
from pipelines.device import choose_precision, with_precision
from pipelines.segment import Choice


class Measurement:
    """Stands for a device on which an fp32 step takes `ratio` times as long as a bf16 step."""

    def __init__(self) -> None:
        self.ratio, self.calls = 2.0, 0

    def __call__(self) -> float:
        self.calls += 1
        return self.ratio


@pytest.fixture
def measurement(monkeypatch: pytest.MonkeyPatch) -> Measurement:
    made = Measurement()
    monkeypatch.setattr(device, "_ratio", made)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "_cpu_name", lambda: "Acme 9000")
    return made


@pytest.mark.parametrize("requested", ["fp32", "bf16", "fp16"])
def test_requested_precision_is_taken_unmeasured(requested: str, measurement: Measurement, tmp_path: Path) -> None:
    assert choose_precision(requested, cache=tmp_path) == Choice(requested, "asked for")
    assert measurement.calls == 0


@pytest.mark.parametrize(
    ("ratio", "chosen", "shown"),
    [(2.0, "bf16", "2.0"), (1.14, "bf16", "1.1"), (1.06, "fp32", "1.1"), (0.2, "fp32", "0.2")],
)
def test_faster_precision_is_chosen_with_its_reason(
    ratio: float, chosen: str, shown: str, measurement: Measurement, tmp_path: Path
) -> None:
    measurement.ratio = ratio
    reason = f"a bf16 step takes 1/{shown} of an fp32 step on Acme 9000 (measured)"
    assert choose_precision("auto", cache=tmp_path) == Choice(chosen, reason)


def test_device_is_measured_once(measurement: Measurement, tmp_path: Path) -> None:
    first = choose_precision("auto", cache=tmp_path / "cache")
    measurement.ratio = 0.1
    assert choose_precision("auto", cache=tmp_path / "cache") == first
    assert measurement.calls == 1


def test_another_device_is_measured_anew(
    measurement: Measurement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_precision("auto", cache=tmp_path).value == "bf16"
    monkeypatch.setattr(device, "_cpu_name", lambda: "Acme 1")
    measurement.ratio = 0.1
    assert choose_precision("auto", cache=tmp_path).value == "fp32"


def test_measurement_measures_something() -> None:
    assert 0.01 < device._ratio(repeats=2) < 100


def test_chosen_precision_replaces_auto_only() -> None:
    assert with_precision(RunConfig(), "bf16").train.precision == "bf16"
    asked = RunConfig(train=TrainConfig(precision="fp32"))
    assert with_precision(asked, "bf16") is asked


def test_device_is_the_cpu_where_there_is_no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.device() == torch.device("cpu")
    assert device._cpu_name()
