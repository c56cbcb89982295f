"""How much a comparison may cost before it leaves the rest undecided, and says so."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """`steps`: how far two policies are read in one go: for changes of verdicts, for the others,
    and to tell what was found in fewer words. `least_steps`: how many of them may go to the
    workloads of one predicate, if there are many. `looks`: at how many cgroup paths in all.
    `cells`: after how many different changes no more are looked for."""

    steps: int = 12_000
    least_steps: int = 800
    looks: int = 10_000
    cells: int = 8_000


QUICK = Effort()
"""Three seconds for two policies of 1,000 constraints, whatever is in them."""

THOROUGH = Effort(sys.maxsize, sys.maxsize, sys.maxsize, sys.maxsize)
"""Until everything is found."""
