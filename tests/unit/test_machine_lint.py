"""Lints that look at a machine, on machines made here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.lint.lint import MACHINE_IDS, lint_here
from portwatch.agent.lint.machine import Machine
from portwatch.kernel.readings import ObservedBind
from portwatch.node.accounts import AccountTable
from portwatch.node.listeners import Listener
from portwatch.node.nat.published import Published
from portwatch.node.paths import HostPaths
from portwatch.node.published_ports import PublishedPort
from portwatch.node.reserved_ports import reserved_ports
from portwatch.node.socket_holders import Holder
from portwatch.node.unit_files import unit_files
from portwatch.policy.lint.finding import Finding
from portwatch.policy.lint.local_ports import LocalPorts
from portwatch.policy.source.load import builtin_policy, parse_policy
from portwatch.policy.words.addresses import Address

CONTAINER = "3f2a" * 16
CGROUPS = (
    "/",
    "/system.slice",
    "/system.slice/ssh.service",
    "/system.slice/nginx.service",
    "/ci/job-1",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/mine.service",
    f"/system.slice/docker-{CONTAINER}.scope",
)
HOLDER = Holder(
    pid=7, comm="nginx", exe=None, cmdline=None, uid=33, gid=33,
    cgroup="/system.slice/nginx.service", since="2026-01-02T03:04:05.670000Z",
)  # fmt: skip
LISTENER = Listener(
    protocol="tcp", family="ipv4", address="127.0.0.1", port=8080, state="listen", dual=False,
    network=4026531833, is_host_network=True, in_local_range=False, cookie=1, uid=33,
    made_in=HOLDER.cgroup, holder=HOLDER, more=0,
)  # fmt: skip
SSHD = replace(
    LISTENER,
    address="0.0.0.0",
    port=22,
    holder=replace(HOLDER, comm="sshd", cgroup="/system.slice/ssh.service"),
)
MACHINE = Machine(
    cgroups={path: number for number, path in enumerate(CGROUPS, 1)},
    units={"nginx.service", "etcd.service", "getty@.service", "worker@.service"},
    accounts=AccountTable({"root": 0, "www-data": 33}, {"root": 0, "www-data": 33}),
    book=ContainerBook(),
    ports=LocalPorts(32768, 60999, ((40000, 40009), (50000, 50000))),
)


def found(constraints: str, machine: Machine = MACHINE, mode: str = "enforce") -> list[Finding]:
    """What is found of these constraints, one a line, on a machine."""
    text = f"version: 1\nmode: {mode}\nconstraints:\n{constraints}"
    return lint_here(parse_policy([("p.yaml", text)]), machine)


NOTHING = "selector-matches-nothing"
CASES = [
    (NOTHING, "for: {unit: shop.service}", "for: {unit: nginx.service}"),
    (NOTHING, "for: {unit: 'shop-*.service'}", "for: {unit: 'ngin*.service'}"),
    (NOTHING, "for: {unit: etc.service}", "for: {unit: etcd.service}"),  # not running, but known
    (NOTHING, "for: {unit: worker-1.service}", "for: {unit: worker@1.service}"),
    (NOTHING, "for: {unit: 'work?@1.service'}", "for: {unit: 'work*@1.service'}"),
    (NOTHING, "except: {unit: etc.service}", "except: {unit: redis.service}"),
    (NOTHING, "for: [{unit: a.service}, {unit: b.service}]", "for: [{unit: a.service}, {user: 5}]"),
    (NOTHING, "for: {user: wwwdata}", "for: {user: www-data}"),
    (NOTHING, "for: {group: nobody-here}", "for: {group: 'www*'}"),
    (NOTHING, "for: {cgroup: /ci/job-2}", "for: {cgroup: '/ci/*'}"),
    (NOTHING, "for: {slice: sytem.slice}", "for: {slice: system.slice}"),
    (NOTHING, "for: {container: 4f2a4f2a4f2a}", "for: {container: 3f2a3f2a3f2a}"),
    (NOTHING, "for: {unit: [a.service, b.service]}", "for: {unit: [a.service, nginx.service]}"),
    (NOTHING, "for: {unit: ['a*', 'b*', 'c*']}", "for: {unit: ['a*', 'b*', 'c*', 'd*']}"),
    (
        "claimed-names-only",
        "for: {unit: mine.service}",
        "for: {unit: mine.service, user: www-data}",
    ),
]


@pytest.mark.parametrize(("kind", "bad", "good"), CASES)
def test_selectors(kind: str, bad: str, good: str) -> None:
    """A selector that means nobody here is told, and the nearest one that means somebody is not;
    names of containers are not judged where an engine has not told them all."""
    machine = replace(MACHINE, book=ContainerBook())
    if "container" in bad:
        named = {path: number for path, number in MACHINE.cgroups.items() if "docker" not in path}
        machine = replace(MACHINE, cgroups=named)
    assert [one.id for one in found(f"- {{name: a, {bad}, deny: [9]}}\n", machine)] == [kind]
    assert found(f"- {{name: a, {good}, deny: [9]}}\n") == []


def test_a_typo_is_named() -> None:
    """Where a name of this machine is nearly the one that matches nothing, it is the remedy."""
    (unit,) = found("- {name: a, except: {unit: etc.service}, deny: [9]}\n")
    assert unit.remedy == "did you mean `etcd.service`?"
    (order,) = found("- {name: a, for: {user: wwwd-ata}, deny: [9]}\n")
    assert order.remedy == "did you mean `www-data`?"
    (other,) = found("- {name: a, for: {user: mwwdata}, deny: [9]}\n")
    assert "mean" not in other.remedy
    assert found("- {name: a, except: {cgroup: /ci/job-11}, deny: [9]}\n") == []
    (user,) = found("- {name: a, for: {unit: nginx.service, user: wwwdata}, deny: [9]}\n")
    assert user.remedy == "did you mean `www-data`?"


def test_without_cgroups_only_accounts_are_judged() -> None:
    """A machine whose cgroups cannot be seen has no units that are missing."""
    blind = replace(MACHINE, cgroups={}, units=set())
    assert found("- {name: a, for: {unit: no.service}, deny: [9]}\n", blind) == []
    (one,) = found("- {name: a, for: {user: no}, deny: [9]}\n", blind)
    assert one.id == NOTHING


@pytest.mark.parametrize(
    ("rule", "ports", "remedy"),
    [
        ("allow: [30000-32768/tcp]", "32768", "32768,40000-40009,50000"),
        ("allow: [40005-40010, 45000]", "40010, 45000", "40000-40010,45000,50000"),
        ("deny: [41000-41999]", "41000-41999", "40000-40009,41000-41999,50000"),
        ("allow: [40000-40009]", None, None),
        ("allow: [32767, 61000]", None, None),
        ("allow: [1024-65535]", None, None),
        ("allow: [all]", None, None),
        ("mode: record, deny: [41000-41999]", None, None),
    ],
)
def test_local_ports(rule: str, ports: str | None, remedy: str | None) -> None:
    """Ports that the kernel may give to clients are told, with the sysctl that reserves them
    beside those that are; a list of all ports means none of them."""
    told = found(f"- {{name: a, for: {{user: www-data}}, {rule}}}\n")
    if ports is None:
        assert told == []
    else:
        (one,) = told
        assert one.id == "ephemeral-range"
        assert f"{ports}, and the kernel" in one.reason
        assert one.remedy == f'sysctl -w net.ipv4.ip_local_reserved_ports="{remedy}"'


def test_lock_outs() -> None:
    """What listens and would be refused is told at the constraint that would, SSH as the most
    urgent; what a constraint allows is not."""
    machine = replace(MACHINE, listeners=[LISTENER, SSHD, replace(SSHD, address="::", dual=True)])
    rules = "- {name: a, for: {unit: nginx.service}, allow: [80]}\n- {name: b, deny: [22/tcp]}\n"
    nginx, ssh = sorted(found(rules, machine), key=lambda one: one.urgency)
    assert (nginx.id, nginx.line, nginx.urgency) == ("lock-out", 4, 1)
    assert nginx.reason == (
        "a: nginx (pid 7) of nginx.service has 8080/tcp on 127.0.0.1, "
        "and would be refused at its next start"
    )
    assert (ssh.id, ssh.line, ssh.urgency) == ("ssh-lock-out", 5, 2)
    assert "22/tcp on 0.0.0.0, ::" in ssh.reason
    rules = "- {name: a, for: {unit: nginx.service}, addresses: [loopback], allow: [8080]}\n"
    assert found(rules, machine) == []


def test_a_lock_out_to_come() -> None:
    """Of a policy that only records it is told what would be refused if it were enforced, by its
    default at its beginning."""
    text = "version: 1\ndefault: deny\nconstraints: []\n"
    policy = parse_policy([("p.yaml", text)])
    (one,) = lint_here(policy, replace(MACHINE, listeners=[SSHD]))
    assert (one.id, one.place, one.urgency) == ("lock-out-once-enforced", "p.yaml:1:1", 0)


def test_wildcard_not_needed() -> None:
    """A list for any address is told where all that was seen keeps to loopback, and is not once
    anything else was seen, listening or bound before."""
    rules = "- {name: a, for: {unit: nginx.service}, allow: [8080, 8081]}\n"
    here = replace(MACHINE, listeners=[LISTENER])
    (one,) = found(rules, here)
    assert one.id == "wildcard-not-needed"
    assert "8080/tcp was seen on loopback only" in one.reason
    private = ObservedBind(
        cgroup=4, address=Address.parse("10.0.0.1").packed, uid=33, port=8081, protocol="tcp",
        dual=False, count=1, first_ns=1, last_ns=1, pid=7,
    )  # fmt: skip
    assert found(rules, replace(here, observed=[private])) == []
    assert found(rules, replace(here, observed=[replace(private, cgroup=3)])) == [one]
    assert found(rules.replace("allow", "addresses: [loopback], allow"), here) == []
    assert found(rules, MACHINE) == []


PUBLISHED = PublishedPort(
    Published("tcp", (4,), None, 8080, 8081, "docker", "172.17.0.2:80", "DOCKER"), 4026531833, True
)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            "for: {unit: nginx.service}, allow: [8081/tcp]",
            "it allows 8080-8081/tcp (docker to 172.",
        ),
        ("except: {unit: nginx.service}, deny: [8000-8100]", "it refuses 8080-8081/tcp (docker to"),
        ("for: {unit: nginx.service}, allow: [8081/udp]", None),
        ("for: {unit: nginx.service}, addresses: [loopback], allow: [8080]", None),
        ("for: {unit: nginx.service}, allow: [all]", None),
        ("for: {container: web}, allow: [8080]", None),
        ("for: {pod: {labels: {app: web}}}, allow: [8080]", None),
        ("allow: [8080, 9000], otherwise: continue", None),
        ("for: {unit: nginx.service}, accept: [published-port], allow: [8080]", "it allows"),
    ],
)
def test_published_ports(rule: str, said: str | None) -> None:
    """A list that gives somebody a port which NAT takes here, or that keeps such a port, is told
    so; not one of all ports, of loopback, or for who has a network of its own."""
    told = found(f"- {{name: a, {rule}}}\n", replace(MACHINE, published=[PUBLISHED]))
    told = [one for one in told if one.id == "published-port"]
    assert [said is not None and said in one.reason for one in told] == [True] * (said is not None)
    elsewhere = replace(PUBLISHED, is_host_network=False)
    assert found("- {name: a, deny: [8080]}\n", replace(MACHINE, published=[elsewhere])) == []


def test_the_builtin_policy_has_no_findings_here() -> None:
    """What everybody starts with is clean on a machine without any of its software."""
    assert lint_here(builtin_policy(), MACHINE) == []


def test_every_machine_lint_has_a_test() -> None:
    """No id is without a test that names it."""
    text = Path(__file__).read_text()
    assert [id for id in MACHINE_IDS if f'"{id}"' not in text] == []


def test_unit_files_are_those_of_systemds_directories(tmp_path: Path) -> None:
    """Units that systemd could start count, wherever their files lie; their drop-ins do not."""
    for name in ("etc/systemd/system/a.service", "usr/lib/systemd/system/b@.service"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "etc/systemd/system/a.service.d").mkdir()
    assert unit_files(tmp_path) == {"a.service", "b@.service"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("\n", []), ("8080,9148-9150\n", [(8080, 8080), (9148, 9150)]), ("?\n", []), (None, [])],
)
def test_reserved_ports(tmp_path: Path, text: str | None, expected: list[tuple[int, int]]) -> None:
    """Reserved ports are read as the kernel writes them; none where it does not."""
    file = tmp_path / "sys/net/ipv4/ip_local_reserved_ports"
    file.parent.mkdir(parents=True)
    if text is not None:
        file.write_text(text)
    assert reserved_ports(HostPaths(proc=tmp_path)) == expected
