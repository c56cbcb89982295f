"""Workloads that may have the ports of infrastructure that they do not seem to be."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

from portwatch.policy.catalog.catalog import CatalogEntry, readable_catalog
from portwatch.policy.lint.finding import Finding
from portwatch.policy.lint.reach import Reach
from portwatch.policy.model import Constraint
from portwatch.policy.source.problems import quote
from portwatch.policy.words.port_text import coalesced, range_text
from portwatch.policy.words.ports import PROTOCOLS, PortEntry, PortRange

OVERLAP = "catalog-overlap"

CRITICAL = (
    *("ssh", "etcd", "kubernetes-api", "kubelet", "kube-scheduler", "kube-controller-manager"),
    *("docker-api", "dns", "kerberos", "ldap", "consul", "vault"),
)
"""Sets of which no port is to be had by others, in whatever range it lies."""

WELL_KNOWN = (
    *("ntp", "dhcp", "snmp", "syslog", "rpcbind", "nfs", "smb", "legacy-remote-access"),
    *("etcd-legacy", "kube-proxy", "docker-swarm", "nomad"),
    *("postgres", "mysql", "redis", "memcached", "mongodb", "cassandra", "mssql", "oracle"),
    *("couchdb", "cockroachdb", "kafka", "zookeeper", "rabbitmq", "nats", "mqtt"),
    *("alertmanager", "node-exporter", "jdwp", "node-inspector", "debugpy"),
)
"""Sets that count where a word means nothing but their ports: whoever writes 5432 means it. Most
sets of the catalog are left out: their numbers are in use for anything."""

ALSO_CALLED = {
    "ssh": ("dropbear",),
    "etcd": ("kube", "k3s", "k8s", "rke2"),
    "kube": ("k3s", "k8s", "rke2"),
    "docker": ("podman", "containerd"),
    "dns": ("named", "bind9", "unbound", "resolve", "dnsmasq", "knot", "powerdns", "pdns", "nsd"),
    "ldap": ("slapd", "389ds", "dirsrv"),
    "kerberos": ("krb5", "kdc", "kadmin"),
    "mysql": ("mariadb",),
    "redis": ("valkey", "keydb"),
    "elasticsearch": ("opensearch",),
    "ntp": ("chrony", "timesync"),
    "syslog": ("rsyslog", "journal"),
}
"""Names under which the software of a set runs too."""


def catalog_overlap(reach: Reach) -> Iterator[Finding]:
    """Yield constraints that allow the ports of a catalog set, by a word that is not its name, to a
    workload in whose names the set's does not occur.

    Of a critical set, and of one that this machine has written itself, any port.
    """
    known_sets = readable_catalog()
    ports = _ports(known_sets)
    for number, constraint in enumerate(reach.policy.constraints):
        if not constraint.subject_for:
            continue
        names = _names(constraint)
        for entry in constraint.allow.entries:
            if entry.word.startswith("catalog:"):
                continue
            for known in _candidates(entry, known_sets, ports):
                overlap = _overlap(entry, known)
                if overlap and not _is_evident(known.name, names):
                    allowed = [item for item in overlap if _allows(reach, number, item)]
                    if allowed:
                        yield _finding(constraint, entry, known, allowed)
                        break


def _names(constraint: Constraint) -> str:
    """Everything by which a constraint says whom it means."""
    words = [constraint.name, constraint.reason or ""]
    for selector in constraint.subject_for or ():
        words += [selector.origin or "", str(selector)]
    return " ".join(words).lower()


def _is_evident(name: str, names: str) -> bool:
    parts = [part for part in name.split("-") if part not in ("api", "legacy", "over", "exporter")]
    wanted = [*parts, *(("kube",) if name.startswith("kube") else ())]
    return any(word in names for part in wanted for word in (part, *ALSO_CALLED.get(part, ())))


def _candidates(
    entry: PortEntry, known_sets: Mapping[str, CatalogEntry], ports: list[tuple[int, str]]
) -> list[CatalogEntry]:
    """The sets that have a port in the ranges of a word, in the catalog's order."""
    names: set[str] = set()
    for item in entry.ranges:
        first = bisect_left(ports, (item.first, ""))
        names.update(name for _, name in ports[first : bisect_left(ports, (item.last + 1, ""))])
    return [known for known in known_sets.values() if known.name in names]


def _ports(known_sets: Mapping[str, CatalogEntry]) -> list[tuple[int, str]]:
    """Each port of each set that matters here, with the set's name, by number."""
    return sorted(
        (port, known.name)
        for known in known_sets.values()
        if known.name in (*CRITICAL, *WELL_KNOWN) or known.file is not None
        for item in known.ranges
        for port in range(item.first, item.last + 1)
    )


def _overlap(entry: PortEntry, known: CatalogEntry) -> list[PortRange]:
    """What a word has in common with a set, empty where that is no reason to ask."""
    common = [
        PortRange(max(a.first, b.first), min(a.last, b.last), a.protocol or b.protocol)
        for a in entry.ranges
        for b in known.ranges
        if max(a.first, b.first) <= min(a.last, b.last)
        and (a.protocol is None or b.protocol is None or a.protocol == b.protocol)
    ]
    is_critical = known.name in CRITICAL or known.file is not None
    if is_critical or _size(common) == _size(entry.ranges):
        return common
    return []


def _size(ranges: Iterable[PortRange]) -> int:
    return sum(item.last - item.first + 1 for item in ranges)


def _allows(reach: Reach, number: int, item: PortRange) -> bool:
    return any(
        one.allow >> number & 1 and reach.reaches(number, one)
        for run in reach.runs_in(item, "numbered")
        for one in run.classes
    )


def _finding(
    constraint: Constraint, entry: PortEntry, known: CatalogEntry, common: list[PortRange]
) -> Finding:
    spans = [
        (protocol, item.first, item.last)
        for item in common
        for protocol in ((item.protocol,) if item.protocol else PROTOCOLS)
    ]
    ports = ", ".join(range_text(item) for item in coalesced(spans))
    reason = (
        f"{quote(entry.word)} in `allow` holds {ports} of catalog:{known.name} "
        f"({known.description}), which this workload does not seem to be"
    )
    remedy = (
        f"take the ports out; if it is meant, write `catalog:{known.name}` for them, or "
        f"`accept: [{OVERLAP}]`"
    )
    about = f"{ports} of catalog:{known.name}"
    return Finding.of(constraint, OVERLAP, reason, remedy, about=about)
