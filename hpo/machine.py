"""How much of this machine a study uses, each choice with its reason. Nothing here needs torch."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from hpo.spec import Workers
from pipelines.host import processor_name

Arrangement = tuple[int, int]
"""Worker processes, and the threads of each."""

GIB = 2**30
_UNMEASURED_BYTES = GIB  # what a worker is taken to need before anything was measured
_PER_GPU = 4  # workers on one GPU, at most: beyond that they wait for one another
_NO_LIMIT = 2**60  # what control groups of version 1 say when there is none


@dataclass(frozen=True)
class Machine:
    """What there is to share out."""

    cores: int
    """Those that this process may use."""
    memory: float
    """Bytes that are available now, within the limits of the control group."""
    device: str
    """The GPU's or the processor's name."""
    gpu: bool


@dataclass(frozen=True)
class Share:
    """Worker processes and their threads."""

    workers: int
    threads: int
    reason: str


def look_at_machine() -> Machine:
    """This machine as it is now."""
    gpu = has_gpu()
    return Machine(len(own_cores()), available_memory(), _gpu_name() if gpu else processor_name(), gpu=gpu)


def arrangements(asked: Workers, machine: Machine, *, trials: int) -> list[Arrangement]:
    """The arrangements worth comparing, the one taken for the faster first; a single one where nothing is open."""
    fitting = max(1, int(machine.memory // _UNMEASURED_BYTES))
    if asked.count or asked.threads:
        threads = asked.threads or max(1, machine.cores // (asked.count or 1))
        return [(asked.count or max(1, min(machine.cores // threads, fitting, trials)), threads)]
    many = 1 if machine.gpu else min(machine.cores, fitting, trials)
    side_by_side = (many, max(1, machine.cores // many))
    return [side_by_side, (1, machine.cores)] if many > 1 else [side_by_side]


def share_of_machine(
    asked: Workers, machine: Machine, *, trials: int, rates: Mapping[Arrangement, float], peak: float
) -> Share:
    """Workers and threads: as asked for, else the arrangement that measured fastest, as far as memory goes.

    `rates` are rows per second of all workers together by arrangement; `peak` is the predicted memory of one worker in
    bytes: of the process on a CPU, of the device on a GPU (then `machine.memory` is the device's).
    """
    if asked.count or asked.threads:
        return Share(*arrangements(asked, machine, trials=trials)[0], reason="asked for")
    fitting = max(1, int(machine.memory // max(peak, 1.0)))
    if machine.gpu:
        workers = max(1, min(_PER_GPU, fitting, machine.cores, trials))
        reason = f"{peak / GIB:.1f} GiB a worker, the GPU has memory for {fitting}; at most {_PER_GPU} on one GPU"
        return Share(workers, max(1, machine.cores // workers), reason)
    best = max(rates, key=lambda arrangement: rates[arrangement])
    if best[0] > fitting:
        reason = f"{peak / GIB:.1f} GiB a worker, {machine.memory / GIB:.1f} GiB available: memory for {fitting}"
        return Share(fitting, max(1, machine.cores // fitting), reason)
    return Share(*best, reason=_compared(best, rates))


def _compared(best: Arrangement, rates: Mapping[Arrangement, float]) -> str:
    """The measured reason for an arrangement."""
    others = [other for other in rates if other != best]
    if not others:
        return "one trial at a time is all that there is to do" if best[1] > 1 else "one core"
    if not rates[others[0]]:
        return "nothing could be measured here"
    ratio = rates[best] / rates[others[0]]
    return f"{_words(best)}: {ratio:.2f}x the rows/s of {_words(others[0])}, measured"


def _words(arrangement: Arrangement) -> str:
    workers, threads = arrangement
    return f"{workers} worker{'s' * (workers > 1)} x {threads} thread{'s' * (threads > 1)}"


def own_cores() -> list[int]:
    """The cores that this process may use, by number."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pinned(cores: Sequence[int], *, workers: int, threads: int) -> list[tuple[int, ...] | None]:
    """The cores of each worker, none shared; None for all where there are not enough of them."""
    if workers * threads > len(cores):
        return [None] * workers
    return [tuple(cores[index * threads : (index + 1) * threads]) for index in range(workers)]


def available_memory(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that can still be used, by the machine's count and by the control group's limit where one is readable."""
    return min([float(psutil.virtual_memory().available), *_left_in_groups(root)])


def _left_in_groups(root: Path) -> list[float]:
    """What limits leave, of version 2 and 1; file caches count as used there, and can be given back."""
    left = []
    for folder, limit, used, cache in (
        (root, "memory.max", "memory.current", "inactive_file"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, now = int((folder / limit).read_text()), int((folder / used).read_text())
            lines = (folder / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):  # absent, not readable, or "max"
            continue
        freeable = sum(int(line.split()[1]) for line in lines if line.split()[0] == cache)
        if most < _NO_LIMIT:
            left.append(float(max(0, most - now + freeable)))
    return left


def has_gpu() -> bool:
    """Whether an NVIDIA device is there, without the seconds that importing torch takes."""
    return Path("/dev/nvidia0").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""


def _gpu_name() -> str:
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in file.read_text().splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return "NVIDIA GPU"
