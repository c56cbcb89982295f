"""What the process has freed goes back to the kernel: glibc keeps it where nobody asks."""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8  # mallopt(3)


def keep_one_heap() -> None:
    """Have all threads allocate from one heap; each of them would else keep one of its own."""
    if hasattr(_libc := ctypes.CDLL(None), "mallopt"):
        _libc.mallopt(M_ARENA_MAX, 1)


def give_back_freed() -> None:
    """Takes a millisecond or two: for now and then."""
    if hasattr(_libc := ctypes.CDLL(None), "malloc_trim"):
        _libc.malloc_trim(0)
