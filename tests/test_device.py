"""The arithmetic is chosen by measurement, once, with its reason; what was asked for is not second-guessed."""

from pathlib import Path

import pytest
import torch

from pipelines import device
from pipelines.config import RunConfig, TrainConfig
from pipelines.device import choose_precision, with_precision
from pipelines.segment import Choice


class Measurement:
    """Stands for a device on which a step in each arithmetic takes so many seconds."""

    def __init__(self) -> None:
        self.seconds, self.calls = {"fp32": 1.0, "bf16": 0.5}, 0

    def __call__(self, precisions: list[str]) -> dict[str, float]:
        self.calls += 1
        return {precision: self.seconds[precision] for precision in precisions}


@pytest.fixture
def measurement(monkeypatch: pytest.MonkeyPatch) -> Measurement:
    made = Measurement()
    monkeypatch.setattr(device, "_step_seconds", made)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "processor_name", lambda: "Acme 9000")
    return made


@pytest.fixture
def gpu(measurement: Measurement, monkeypatch: pytest.MonkeyPatch) -> Measurement:
    """A GPU of the Ampere generation."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Acme G1")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    return measurement


@pytest.mark.parametrize("requested", ["fp32", "tf32", "bf16", "fp16"])
def test_requested_precision_is_taken_unmeasured(requested: str, measurement: Measurement, tmp_path: Path) -> None:
    assert choose_precision(requested, cache=tmp_path) == Choice(requested, "asked for")
    assert measurement.calls == 0


@pytest.mark.parametrize(
    ("seconds", "chosen", "shown"),
    [(0.5, "bf16", "1/2.0"), (0.88, "bf16", "1/1.1"), (0.94, "fp32", "1/1.1"), (5.0, "fp32", "1/0.2")],
)
def test_faster_precision_is_chosen_with_its_reason(
    seconds: float, chosen: str, shown: str, measurement: Measurement, tmp_path: Path
) -> None:
    measurement.seconds["bf16"] = seconds
    reason = f"a step takes {shown} in bf16 of what it takes in fp32 on Acme 9000 (measured)"
    assert choose_precision("auto", cache=tmp_path) == Choice(chosen, reason)


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"fp32": 1.0, "tf32": 0.5, "bf16": 0.25, "fp16": 0.24}, "bf16"),  # hardly faster is not worth the scaling
        ({"fp32": 1.0, "tf32": 0.5, "bf16": 0.48, "fp16": 0.25}, "fp16"),
        ({"fp32": 1.0, "tf32": 0.5, "bf16": 0.48, "fp16": 0.47}, "tf32"),
        ({"fp32": 1.0, "tf32": 1.0, "bf16": 1.2, "fp16": 1.1}, "fp32"),
    ],
)
def test_gpu_is_measured_in_all_its_arithmetics(
    seconds: dict[str, float], chosen: str, gpu: Measurement, tmp_path: Path
) -> None:
    gpu.seconds = seconds
    assert choose_precision("auto", cache=tmp_path).value == chosen


def test_old_gpu_has_no_arithmetic_of_later_ones(
    gpu: Measurement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    gpu.seconds = {"fp32": 1.0, "fp16": 0.3}
    choice = choose_precision("auto", cache=tmp_path)
    assert choice == Choice("fp16", "a step takes 1/3.3 in fp16 of what it takes in fp32 on Acme G1 (measured)")


def test_device_is_measured_once(measurement: Measurement, tmp_path: Path) -> None:
    first = choose_precision("auto", cache=tmp_path / "cache")
    measurement.seconds["bf16"] = 10.0
    assert choose_precision("auto", cache=tmp_path / "cache") == first
    assert measurement.calls == 1


def test_another_device_is_measured_anew(
    measurement: Measurement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_precision("auto", cache=tmp_path).value == "bf16"
    monkeypatch.setattr(device, "processor_name", lambda: "Acme 1")
    measurement.seconds["bf16"] = 10.0
    assert choose_precision("auto", cache=tmp_path).value == "fp32"


def test_measurement_measures_something() -> None:
    seconds = device._step_seconds(["fp32", "bf16"], repeats=2)
    assert list(seconds) == ["fp32", "bf16"]
    assert all(0 < taken < 10 for taken in seconds.values())
    assert torch.get_float32_matmul_precision() == "highest"


def test_chosen_precision_replaces_auto_only() -> None:
    assert with_precision(RunConfig(), "bf16").train.precision == "bf16"
    asked = RunConfig(train=TrainConfig(precision="fp32"))
    assert with_precision(asked, "bf16") is asked


def test_device_is_the_cpu_where_there_is_no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.device() == torch.device("cpu")
    assert device.processor_name()
