"""What tests of several kinds share lies beside those it was written for; importable here."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parent

# policy_strategies (unit); scratch, binder and guard (kernel).
sys.path[:0] = [str(TESTS / "unit"), str(TESTS / "kernel")]
