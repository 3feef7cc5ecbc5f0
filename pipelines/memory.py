"""What a long-lived training process wants from the system's memory allocator."""

import contextlib
import ctypes
import sys

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
