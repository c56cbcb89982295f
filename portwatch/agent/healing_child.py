"""Attaches what is not attached, as at the start. Started as a module by hook_watch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from portwatch.errors import KernelError
from portwatch.kernel.loading import ensure_loaded
from portwatch.kernel.pins import PinDir
from portwatch.node.errand import answer


def _work() -> object:
    given = json.load(sys.stdin)
    pins = PinDir(Path(given["pin_dir"]))
    if not pins.exists():  # unloaded meanwhile: that is not ours to undo
        raise KernelError(f"{pins.path} was unloaded")
    ensure_loaded(pins, Path(given["cgroup"]), bool(given["collisions"]))
    return None


if __name__ == "__main__":
    answer(_work)
