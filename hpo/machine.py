"""How much of this machine a study uses, each choice with its reason. Nothing here needs torch."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from hpo.spec import Workers

_WORKER_BYTES = 3 * 2**30  # a worker with a base-sized model in training


@dataclass(frozen=True)
class Share:
    """Worker processes and their threads."""

    workers: int
    threads: int
    reason: str


def share_of_machine(asked: Workers, *, trials: int) -> Share:
    """Workers and threads as asked for; what was left open is chosen from cores, memory and devices."""
    cores = len(os.sched_getaffinity(0))
    fitting = max(1, int(psutil.virtual_memory().available // _WORKER_BYTES))
    if has_gpu():
        workers, reason = 1, "one worker on the GPU"
    else:
        workers = min(cores, fitting, trials)
        reason = f"single-threaded workers side by side beat one with all threads; {cores} cores, memory for {fitting}"
    workers = asked.count or workers
    threads = asked.threads or max(1, cores // workers)
    if asked.count or asked.threads:
        reason = "asked for"
    return Share(workers=workers, threads=threads, reason=reason)


def has_gpu() -> bool:
    """Whether an NVIDIA device is there, without the seconds that importing torch takes."""
    return Path("/dev/nvidia0").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""
