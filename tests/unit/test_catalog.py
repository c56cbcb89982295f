"""The catalog: what is built in, what a machine adds, and what a policy in force keeps of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from portwatch.agent.policy_source import LoadedPolicy
from portwatch.errors import PolicyError, UsageError
from portwatch.policy.catalog.catalog import CATALOG_DIR_VARIABLE, catalog
from portwatch.policy.catalog.use import STORED_CATALOG
from portwatch.policy.source.load import parse_policy
from portwatch.policy.words.ports import PortRange

POLICY = "version: 1\nconstraints: [{{name: c, deny: [catalog:{}]}}]\n"
FALLBACK = "[7000, 8000-8010/udp]"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's own catalog, still empty."""
    monkeypatch.setenv(CATALOG_DIR_VARIABLE, str(tmp_path))
    return tmp_path


def ports_of(name: str) -> set[PortRange]:
    """What a set means now."""
    return set(catalog()[name].ranges)


def refused(name: str = "etcd") -> list[str]:
    """What is said of a policy that names a set."""
    with pytest.raises(PolicyError) as raised:
        parse_policy([("policy.yaml", POLICY.format(name))])
    return [str(problem) for problem in raised.value.problems]


def test_every_set_says_what_it_is_and_who_says_so() -> None:
    """No built-in set lacks ports, description or source, and none claims to be a machine's."""
    for entry in catalog().values():
        assert entry.ranges and entry.description and entry.source, entry.name
        assert entry.source != "catalog.yaml", entry.name
        assert entry.file is None
        assert all(other in catalog() for other in entry.includes)


def test_sets_of_sets_leave_clients_their_ports() -> None:
    """Who denies a whole kind of software refuses no client that the kernel gave a port to."""
    picked = {
        (item.first, item.last)
        for entry in catalog().values()
        if entry.includes
        for item in entry.ranges
        if item.last >= 32768 and item.first <= 60999
    }
    assert picked == {(33060, 33060), (33062, 33062)}  # MySQL's X protocol and administration


def test_no_server_of_others_is_held_against_the_built_in_policy() -> None:
    """The sets that the built-in policy denies have no port of each other's."""
    for one, other in (("databases", "etcd"), ("databases", "kubelet"), ("debuggers", "etcd")):
        shared = [
            (a, b)
            for a in ports_of(one)
            for b in ports_of(other)
            if a.protocol == b.protocol and max(a.first, b.first) <= min(a.last, b.last)
        ]
        assert shared == [], (one, other)


def test_a_machine_adds_a_set(folder: Path) -> None:
    """A set in the directory is used like one that is built in, and shows its file."""
    (folder / "acme.yaml").write_text(f"acme: {{description: ours, ports: {FALLBACK}}}\n")
    assert ports_of("acme") == {PortRange(7000, 7000), PortRange(8000, 8010, "udp")}
    assert catalog()["acme"].file == catalog()["acme"].source == str(folder / "acme.yaml")
    policy = parse_policy([("policy.yaml", POLICY.format("acme"))])
    assert policy.constraints[0].deny.find("udp", 8005) == "catalog:acme"


def test_a_machine_replaces_or_extends(folder: Path) -> None:
    """A set replaces the one of its name, with `extends` adds to it; the last file decides."""
    built_in = ports_of("etcd")
    (folder / "10.yaml").write_text("etcd: {extends: true, ports: [9999/tcp]}\n")
    assert ports_of("etcd") == built_in | {PortRange(9999, 9999, "tcp")}
    assert catalog()["etcd"].description == "etcd's client and peer ports"
    (folder / "20.yaml").write_text("etcd: {ports: [1/tcp]}\n")
    assert ports_of("etcd") == {PortRange(1, 1, "tcp")}
    (folder / "30.yaml").write_text("etcd: {extends: true, includes: [dns]}\n")
    assert ports_of("etcd") == {PortRange(1, 1, "tcp")} | ports_of("dns")


def test_what_includes_a_replaced_set_follows(folder: Path) -> None:
    """An overridden set counts wherever it is included, and makes that the machine's own too."""
    assert catalog()["databases"].file is None
    (folder / "a.yaml").write_text("postgres: {ports: [15432/tcp]}\n")
    assert PortRange(15432, 15432, "tcp") in ports_of("databases")
    assert PortRange(5432, 5432, "tcp") not in ports_of("databases")
    assert catalog()["databases"].file == str(folder / "a.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {ports: [80/tpc]}", "1:13: `80/tpc`: unknown protocol `tpc`"),
        ("a: {ports: [web]}", "1:13: `web` is no port: a catalog has numbers and ranges, and sets "
         "`includes`"),
        ("a: {ports: [70000]}", "1:13: port 70000 is not between 1 and 65535"),
        ("a: {port: [80]}", "1:5: unknown key `port`; did you mean `ports`?"),
        ("a: {ports: 80}", "1:12: `ports` must be a list of ports, such as [8080, 9000-9099/tcp], "
         "not `80`"),
        ("a: {includes: [ecd]}", "1:16: the catalog has no `ecd`; did you mean `etcd`?"),
        ("a: {includes: [b]}\nb: {includes: [a]}",
         "2:16: `a` includes itself: a → b → a"),
        ("a: {description: x}", "1:1: the set is empty: it needs `ports` or `includes`"),
        ("ecd: {extends: true, ports: [1]}", "1:7: there is no `ecd` to extend; did you mean "
         "`etcd`?"),
        ("a: {extends: 1, ports: [1]}", "1:14: `extends` must be true or false, not `1`"),
        ("a b: {ports: [1]}", "1:1: `a b` is no name: letters, digits, `.`, `_` and `-`, at most "
         "63, a letter or digit first"),
        ("- 1", "1:1: a catalog file is a mapping of names to sets of ports"),
        ("a: {ports: }", "1:5: `ports` has no value"),
        ("a: {ports: [1]}\na: {ports: [2]}", "2:1: duplicate key `a`, first at {file}:1:1"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_with_its_place(folder: Path, text: str, said: str) -> None:
    """A policy that names any set is refused with what is wrong and where; others are not."""
    file = folder / "bad.yaml"
    file.write_text(text)
    assert refused() == [f"{file}:{said}".replace("{file}", str(file))]
    assert parse_policy([("a.yaml", "version: 1\nconstraints: [{name: c, deny: [80]}]\n")])


def test_deep_includes_are_refused(folder: Path) -> None:
    """However sets include each other, they are bounded."""
    chain = "".join(f"s{n}: {{includes: [s{n + 1}]}}\n" for n in range(5000))
    (folder / "deep.yaml").write_text(chain + "s5000: {ports: [1]}\n")
    assert any("sets include sets more than 32 deep" in line for line in refused())


def test_a_catalog_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read is an error where a set is named: a policy never silently means less."""
    monkeypatch.setenv(CATALOG_DIR_VARIABLE, "/proc/self/mem")
    with pytest.raises(UsageError, match="cannot read the catalog /proc/self/mem"):
        parse_policy([("a.yaml", POLICY.format("etcd"))])
    assert parse_policy([("a.yaml", "version: 1\nconstraints: [{name: c, deny: [80]}]\n")])


def test_what_is_in_force_keeps_its_meaning(folder: Path) -> None:
    """A policy read again from what was stored means what it meant, whatever the files say now."""
    file = folder / "acme.yaml"
    file.write_text(f"acme: {{ports: {FALLBACK}}}\n")
    text = POLICY.format("acme") + "# ssh\n"
    loaded = LoadedPolicy.parse([("policy.yaml", text)], "policy.yaml", None)
    file.write_text("acme: {ports: [1]}\n")
    again = LoadedPolicy.parse(loaded.sources, "policy.yaml", None)
    assert again.policy == loaded.policy
    assert again.sources == loaded.sources
    file.write_text("{")
    assert LoadedPolicy.parse(again.sources, "policy.yaml", None).policy == loaded.policy
    file.unlink()
    assert LoadedPolicy.parse(again.sources, "policy.yaml", None).policy == loaded.policy


def test_only_what_is_named_is_kept(folder: Path) -> None:
    """The text of a policy without the catalog stays alone; with it, one source is added."""
    plain = "version: 1\nconstraints: [{name: c, deny: [80]}]\n"
    assert LoadedPolicy.parse([("a", plain)], "a", None).sources == (("a", plain),)
    kept = LoadedPolicy.parse([("a", POLICY.format("etcd"))], "a", None)
    assert [name for name, _ in kept.sources] == ["a", STORED_CATALOG]
    assert "mysql" not in str(kept.sources)


def test_the_hash_tells_own_sets_apart(folder: Path) -> None:
    """Two machines show the same hash only where their policies mean the same ports."""
    built_in, own = POLICY.format("databases"), POLICY.format("etcd")

    def hashes() -> list[str]:
        return [parse_policy([("a", text)]).sha256 for text in (built_in, own)]

    before = hashes()
    (folder / "a.yaml").write_text("postgres: {ports: [15432/tcp]}\n")
    changed = hashes()
    assert changed[0] != before[0]
    assert changed[1] == before[1]
    (folder / "a.yaml").write_text("# comment\npostgres: {description: x, ports: [15432/tcp]}\n")
    assert hashes() == changed
