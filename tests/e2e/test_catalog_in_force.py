"""The catalog as users have it: shown, extended, overridden, and kept while it is in force."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from product import eventually, portwatch
from sandbox import Sandbox, denying


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the machine's own catalog, for every command of the test."""
    folder = tmp_path / "catalog.d"
    folder.mkdir()
    monkeypatch.setenv("PORTWATCH_CATALOG_DIR", str(folder))
    return folder / "acme.yaml"


def test_the_catalog_is_listed(catalog: Path) -> None:
    """Each set with its ports on a line of its own; the machine's own are among them."""
    catalog.write_text("acme: {description: Our own, ports: [7000-7009/tcp]}\n")
    done = portwatch("catalog")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert lines["etcd"].endswith("2379-2380/tcp")
    assert lines["acme"].split(maxsplit=1)[1].split("  ")[0] == "Our own"
    facts = {one["name"]: one for one in json.loads(portwatch("catalog", "--json").stdout)}
    assert facts["acme"]["ports"] == ["7000-7009/tcp"]
    assert facts["acme"]["file"] == str(catalog)
    assert all(one["source"] and one["description"] for one in facts.values())
    assert "postgres" in facts["databases"]["includes"]


def test_one_set_is_shown(catalog: Path) -> None:
    """A set in full, with who says so and where it was changed."""
    catalog.write_text("etcd: {extends: true, ports: [12379/tcp]}\n")
    done = portwatch("catalog", "etcd")
    assert done.stdout.splitlines() == [
        "catalog:etcd  etcd's client and peer ports",
        "  ports     2379-2380/tcp, 12379/tcp",
        "  source    etcd documentation: Configuration options",
        f"  file      {catalog}",
    ]
    assert json.loads(portwatch("catalog", "catalog:etcd", "--json").stdout)["name"] == "etcd"


def test_an_unknown_set_is_a_mistake(catalog: Path) -> None:
    """Exit status 2, and the nearest name."""
    done = portwatch("catalog", "etdc")
    assert done.returncode == 2
    assert "the catalog has no `etdc`" in done.stderr
    assert "did you mean `etcd`?" in done.stderr


def test_a_bad_catalog_is_told_with_its_place(catalog: Path) -> None:
    """`catalog`, and what reads a policy that names a set, say what is wrong and where."""
    catalog.write_text("acme: {prots: [1]}\n")
    policy = catalog.with_name("policy")
    policy.write_text(denying("catalog:etcd"))
    for command in (("catalog",), ("check", policy)):
        done = portwatch(*command)
        assert done.returncode == 2
        assert f"{catalog}:1:8: unknown key `prots`; did you mean `ports`?" in done.stderr


def test_what_is_in_force_does_not_change_with_a_file(catalog: Path, sandbox: Sandbox) -> None:
    """After the file has changed, the kernel and `explain` still say the same; `apply` reads it."""
    catalog.write_text("acme: {ports: [9001]}\n")
    policy = sandbox.policy(denying("catalog:acme"))
    sandbox.load(policy)
    binder = sandbox.binder()

    def answers(port: int) -> tuple[str, str]:
        said = sandbox.run("explain", "--port", port, "--json").stdout
        return binder.bind(port), json.loads(said)["verdict"]

    assert answers(9001) == ("EACCES", "denied")
    for text in ("acme: {ports: [9002]}\n", "not: a catalog\n"):
        catalog.write_text(text)
        assert answers(9001) == ("EACCES", "denied")
        assert answers(9002) == ("ok", "allowed")
    before = sandbox.status()["policy"]["sha256"]
    done = sandbox.run("apply", policy)
    assert done.returncode == 2
    catalog.write_text("acme: {ports: [9002]}\n")
    assert sandbox.run("apply", policy).returncode == 0
    assert answers(9001) == ("ok", "allowed")
    assert answers(9002) == ("EACCES", "denied")
    assert sandbox.status()["policy"]["sha256"] != before


def test_sighup_reads_the_catalog_again(catalog: Path, sandbox: Sandbox) -> None:
    """The agent takes up a changed catalog on SIGHUP, and refuses a bad one."""
    catalog.write_text("acme: {ports: [9001]}\n")
    agent = sandbox.agent(sandbox.policy(denying("catalog:acme")))
    binder = sandbox.binder()
    assert binder.bind(9001) == "EACCES"
    catalog.write_text("acme: {ports: [9002]}\n")
    agent.process.send_signal(signal.SIGHUP)
    eventually(lambda: binder.bind(9002) == "EACCES", 10, "the changed set is in force")
    assert binder.bind(9001) == "ok"
    catalog.write_text("acme: {ports: [none]}\n")
    agent.process.send_signal(signal.SIGHUP)
    refused = "portwatch_policy_last_load_successful"
    eventually(lambda: agent.metric(refused) == 0, 10, "the bad catalog is refused")
    assert binder.bind(9002) == "EACCES"
    assert f"{catalog}:1:16" in agent.log
