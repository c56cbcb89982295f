"""The addresses of the pages, with what they are asked for."""

from __future__ import annotations

from urllib.parse import urlencode


def explain_link(workload: str, protocol: str, port: int | str, **more: str) -> str:
    """To the explanation of one bind; `more`: address, network, constraint."""
    return _link("/explain", {"workload": workload, "protocol": protocol, "port": port, **more})


def map_link(workload: str) -> str:
    """To the port map of one workload, with its ranges as a table."""
    return _link("/", {"workload": workload})


def _link(path: str, asked: dict[str, str | int]) -> str:
    return f"{path}?{urlencode(asked, errors='replace')}"
