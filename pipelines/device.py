"""Which device, which arithmetic, how many workers: chosen by looking and measuring, each with its reason."""

import platform
import time
from pathlib import Path

import torch

from pipelines.config import RunConfig
from pipelines.files import digest, read_json, write_json
from pipelines.segment import Choice


def device() -> torch.device:
    """The accelerator where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(requested: str, *, cache: Path) -> Choice:
    """fp32 or bf16 by measurement of this device (once: the result is kept under `cache`), unless requested."""
    if requested != "auto":
        return Choice(requested, "asked for")
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu_name()
    file = cache / f"precision-{digest(name, torch.__version__)[:16]}.json"
    ratio = read_json(file)
    if ratio is None:
        ratio = _ratio()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, ratio)
    chosen = "bf16" if ratio > 1.1 else "fp32"
    return Choice(chosen, f"a bf16 step takes 1/{ratio:.1f} of an fp32 step on {name} (measured)")


def with_precision(config: RunConfig, precision: str) -> RunConfig:
    """The configuration with its `auto` precision replaced by what was chosen."""
    if config.train.precision != "auto":
        return config
    train = config.train.model_copy(update={"precision": precision})
    return config.model_copy(update={"train": train})


def _ratio(repeats: int = 7) -> float:
    """How many times longer an fp32 step takes than a bf16 step: the best of each, measured in turn.

    A step is a forward and backward pass through a layer shaped like a small transformer's.
    """
    where = device()
    layer = torch.nn.Sequential(torch.nn.Linear(384, 1536), torch.nn.GELU(), torch.nn.Linear(1536, 384)).to(where)
    rows = torch.randn(1024, 384, device=where)
    times: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(repeats):
        for precision in times:  # in turn, so that whatever else the machine does meets both
            start = time.perf_counter()
            with torch.autocast(where.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
                loss = layer(rows).float().square().mean()
            loss.backward()
            loss.item()  # waits for the device
            times[precision].append(time.perf_counter() - start)
    return min(times["fp32"][1:]) / min(times["bf16"][1:])


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
