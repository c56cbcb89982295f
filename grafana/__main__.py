"""`python -m grafana`: write the dashboard's JSON."""

from __future__ import annotations

from grafana.dashboard import JSON, dashboard_json

if __name__ == "__main__":
    JSON.write_text(dashboard_json())
