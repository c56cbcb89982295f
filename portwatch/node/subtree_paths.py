"""Paths of cgroups as the kernel's tracepoints tell them, where only a subtree is mounted here."""

from __future__ import annotations

from portwatch.node.cgroups import CgroupTree


class SubtreePaths:
    """Kernel's path → ours. In a cgroup namespace (LXC, systemd in a container) the way from the
    hierarchy's root to ours is told nowhere: it is learned from the first cgroup that is found."""

    def __init__(self, tree: CgroupTree) -> None:
        self._tree = tree
        self._above: str | None = None

    def ours(self, path: str, number: int) -> str | None:
        """The path here of the cgroup with that id; None where it is not below our root, or was
        gone before the way was learned."""
        if self._tree.is_whole:
            return path
        if self._above is None:
            self._above = self._way_to(path, number)
        if self._above is None:
            return None
        return path.removeprefix(self._above) if path.startswith(f"{self._above}/") else None

    def _way_to(self, path: str, number: int) -> str | None:
        parts = path.split("/")
        for count in range(1, len(parts)):
            if self._tree.id_of("/" + "/".join(parts[count:])) == number:
                return "/".join(parts[:count])
        return None
