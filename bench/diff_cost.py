"""What comparing two policies of a thousand constraints costs: time of the CPU, start included."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

from bench.ground import Ground
from bench.policy_cost import PORTWATCH
from bench.policy_pairs import KINDS, pair_of
from bench.rows import Row


def measure(ground: Ground) -> Iterator[Row]:
    """A row for every kind of pair."""
    files = ground.folder / "old.yaml", ground.folder / "new.yaml"
    for kind in KINDS:
        for path, text in zip(files, pair_of(kind), strict=True):
            path.write_text(text)
        process = subprocess.Popen(
            [*PORTWATCH, "diff", *map(str, files)], stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 1:
            raise RuntimeError(f"portwatch diff ended with {process.returncode}")
        seconds = usage.ru_utime + usage.ru_stime
        note = f"{usage.ru_maxrss / 1024:.0f} MiB at most"
        yield Row(f"diff of 2 × 1,000: {kind}", "s", seconds, 3, note=note)
