"""The ports of this machine that address translation gives to somebody else, in every network
namespace: published by container engines, as NodePorts, or by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from portwatch.errors import KernelError
from portwatch.node.namespaces import Namespace, NamespaceGone, entered
from portwatch.node.nat.published import Published, read_published
from portwatch.node.paths import HostPaths


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """Ports that no socket here gets anything on, and the network namespace where that is so."""

    rule: Published
    network: int  # inode of the namespace
    is_host_network: bool

    @property
    def ports(self) -> str:
        """`8080`, or `8000-8010`."""
        rule = self.rule
        return str(rule.first) if rule.first == rule.last else f"{rule.first}-{rule.last}"

    @property
    def address(self) -> str:
        """The one address of this machine, or the wildcard of the IP version."""
        if self.rule.address is not None:
            return self.rule.address
        return "0.0.0.0" if self.rule.families == (4,) else "::"  # noqa: S104 (told, not bound)

    def takes(self, protocol: str, port: int) -> bool:
        """Whether it is about that port."""
        rule = self.rule
        return rule.protocol == protocol and rule.first <= port <= rule.last

    def facts(self) -> dict[str, Any]:
        """As events and `--json` have it; what is not known is absent."""
        rule = self.rule
        facts = {
            "source": rule.source,
            "target": rule.target,
            "address": self.address,
            "rule": rule.rule,
            "comment": rule.comment,
            "more": rule.more,
        }
        return {key: value for key, value in facts.items() if value}


def find_published(
    host: HostPaths, namespaces: Iterable[Namespace]
) -> tuple[list[PublishedPort], list[str]]:
    """All of them, by namespace and port; and in one sentence each whose rules may not be read."""
    found: list[PublishedPort] = []
    unread = []
    for namespace in namespaces:
        try:
            with entered(namespace, host):
                rules = read_published(host)
        except NamespaceGone:
            continue
        except KernelError as err:
            unread.append(f"published ports of {namespace.name}: {err.message}")
        else:
            found += [PublishedPort(one, namespace.inode, namespace.is_host) for one in rules]
    return found, unread
