"""The machine that this process runs on, without torch."""

import contextlib
import ctypes
import os
import platform
import signal
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> None:
    """Let glibc's allocator keep what it was given back, in this process.

    A training step asks for the same large blocks each time; to get their pages from the kernel anew costs a twentieth
    of its time. Without effect where the C library is another.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, 2**30)
            mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def die_with_parent() -> None:
    """Ask the kernel (Linux) to kill this process with its parent: an orphan would write beside its own successor."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG


def let_others_go_first() -> None:
    """Let this thread, and those that it will start, compute after whatever wakes up to read or to answer (Linux).

    `SCHED_BATCH` of sched(7): it gets as much of the cores as before, and no later than others who only compute.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # where a sandbox forbids it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def processor_name() -> str:
    """What the processor calls itself, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
