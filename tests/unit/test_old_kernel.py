"""A kernel that is too old to try is refused at once, and says so."""

from __future__ import annotations

import os
import platform

import pytest

from portwatch.cli.enforcement import require_root
from portwatch.errors import KernelError
from portwatch.kernel.probe import kernel_version


@pytest.mark.parametrize(
    ("release", "version"),
    [("5.4.0-150-generic", (5, 4)), ("6.18.44-fc-v657", (6, 18)), ("7.2-rc3", (7, 2))],
)
def test_release_names(
    monkeypatch: pytest.MonkeyPatch, release: str, version: tuple[int, int]
) -> None:
    """Major and minor are read from every way in which distributions name their kernels."""
    monkeypatch.setattr(platform, "release", lambda: release)
    assert kernel_version() == version


def test_an_old_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 5.10 nothing is tried; the message names what is needed, and the exit status is 3."""
    monkeypatch.setattr(platform, "release", lambda: "5.4.0-150-generic")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(KernelError, match=r"too old: portwatch needs 5\.10") as caught:
        require_root()
    assert caught.value.exit_code == 3
