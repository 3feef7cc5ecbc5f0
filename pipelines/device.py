"""Which device, which arithmetic, how many workers: chosen by looking and measuring, each with its reason."""

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from pipelines.config import RunConfig
from pipelines.files import digest, read_json, write_json
from pipelines.host import processor_name
from pipelines.segment import Choice

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def device() -> torch.device:
    """The accelerator where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(requested: str, *, cache: Path) -> Choice:
    """The arithmetic that measured fastest on this device (once: the result is kept under `cache`), unless requested.

    What computes less exactly must be a tenth faster than what computes more exactly.
    """
    if requested != "auto":
        return Choice(requested, "asked for")
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else processor_name()
    file = cache / f"precision-{digest(name, torch.__version__, *_candidates())[:16]}.json"
    seconds: dict[str, float] | None = read_json(file)
    if seconds is None:
        seconds = _step_seconds(_candidates())
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, seconds)
    chosen = "fp32"
    for precision, taken in seconds.items():
        chosen = precision if taken * 1.1 < seconds[chosen] else chosen
    shown = ", ".join(f"1/{seconds['fp32'] / taken:.1f} in {one}" for one, taken in seconds.items() if one != "fp32")
    return Choice(chosen, f"a step takes {shown} of what it takes in fp32 on {name} (measured)")


def _candidates() -> list[str]:
    """What this device can compute in, the most exact first."""
    if not torch.cuda.is_available():
        return ["fp32", "bf16"]
    recent = torch.cuda.get_device_capability() >= (8, 0)  # Ampere brought both
    return ["fp32", *(["tf32", "bf16"] if recent else []), "fp16"]


def with_precision(config: RunConfig, precision: str) -> RunConfig:
    """The configuration with its `auto` precision replaced by what was chosen."""
    if config.train.precision != "auto":
        return config
    train = config.train.model_copy(update={"precision": precision})
    return config.model_copy(update={"train": train})


def _step_seconds(precisions: list[str], repeats: int = 7) -> dict[str, float]:
    """Seconds of a step in each arithmetic: the best of some, measured in turn.

    A step is a forward and backward pass through a layer shaped like a small transformer's.
    """
    where = device()
    layer = torch.nn.Sequential(torch.nn.Linear(384, 1536), torch.nn.GELU(), torch.nn.Linear(1536, 384)).to(where)
    rows = torch.randn(1024, 384, device=where)
    times: dict[str, list[float]] = {precision: [] for precision in precisions}
    before = torch.get_float32_matmul_precision()
    for _ in range(repeats):
        for precision in times:  # in turn, so that whatever else the machine does meets all
            torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
            start = time.perf_counter()
            with torch.autocast(where.type, dtype=_AUTOCAST.get(precision), enabled=precision in _AUTOCAST):
                loss = layer(rows).float().square().mean()
            loss.backward()
            loss.item()  # waits for the device
            times[precision].append(time.perf_counter() - start)
    torch.set_float32_matmul_precision(before)
    return {precision: min(taken[1:]) for precision, taken in times.items()}


def forget_peak(where: torch.device) -> None:
    """Begin a new peak of memory. Only Linux can for a process; elsewhere the peak is that of all it did so far."""
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return


def peak_memory(where: torch.device) -> float:
    """Peak bytes since `forget_peak`; of a process in units of 4 KiB pages, counted loosely by the kernel."""
    if where.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    for line in _status_lines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _status_lines() -> Iterator[str]:
    file = Path("/proc/self/status")
    yield from file.read_text().splitlines() if file.exists() else []
