"""Memory that stays with the process."""

from __future__ import annotations

import ctypes

# Of <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed() -> None:
    """Lets the C library keep what is freed, where it is glibc; does nothing elsewhere.

    A training step frees and takes the same gigabytes as the one before. By default they go back to the kernel in
    between, which clears every page anew: up to half of a step's time on a CPU.
    """
    try:
        adjust = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    adjust(_MMAP_MAX, 0)
    adjust(_TRIM_THRESHOLD, -1)  # never
    adjust(_TOP_PAD, 256 << 20)
