"""Memory that this process has freed, and still holds."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return freed memory to the kernel, where the C library can: malloc_trim(3), of glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
