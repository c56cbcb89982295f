"""`python -m grafana`: write the dashboards' JSON."""

from __future__ import annotations

from grafana.dashboard import BOARDS

if __name__ == "__main__":
    for board in BOARDS:
        board.path.write_text(board.json())
