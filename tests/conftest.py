"""What tests of several kinds share lies beside the tests it was written for: make it importable."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parent

# policy_strategies (unit); scratch, binder and guard (kernel).
sys.path[:0] = [str(TESTS / "unit"), str(TESTS / "kernel")]
