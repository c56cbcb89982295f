"""How many sockets there are, for a few microseconds: whether looking at them is worth it."""

from __future__ import annotations

from portwatch.node.paths import HostPaths


def socket_counts(host: HostPaths) -> str:
    """The kernel's counts of sockets in use in the host's network namespace, as it words them;
    what changes at rest, such as memory, left out. Empty where they cannot be read."""
    counts = []
    for name in ("sockstat", "sockstat6"):
        try:
            lines = (host.process(1) / "net" / name).read_text().splitlines()
        except OSError:
            continue
        counts += [" ".join(line.split()[:3]) for line in lines if "inuse" in line]
    return "\n".join(counts)
