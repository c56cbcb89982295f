"""The ports that the kernel leaves out when it picks one."""

from __future__ import annotations

from portwatch.node.paths import HostPaths


def reserved_ports(host: HostPaths) -> list[tuple[int, int]]:
    """First and last port of each stretch, in this thread's network namespace; ip-sysctl.rst:
    `8080,9148-9150`. Empty where the kernel does not tell."""
    path = host.proc / "sys" / "net" / "ipv4" / "ip_local_reserved_ports"
    try:
        words = path.read_text().strip().split(",")
        pairs = [word.partition("-") for word in words if word]
        return [(int(first), int(last or first)) for first, _, last in pairs]
    except (OSError, ValueError):
        return []
