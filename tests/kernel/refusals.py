"""What a denied bind is told on this kernel."""

from __future__ import annotations

from functools import cache

from portwatch.kernel.features import Feature
from portwatch.kernel.probe import probe


@cache
def _lets_choose() -> bool:
    return Feature.SET_RETVAL in probe().features


def heard(errno: str = "EACCES") -> str:
    """What a process hears where the policy says `errno`; EACCES is what a policy says by itself.

    Without a choice it is EPERM, which is the gap `errno`; test_smoke.py sees that it is one.
    """
    return errno if _lets_choose() else "EPERM"
