"""The image on a node, container for container as the DaemonSet has them: loads, denies, tells, is
upgraded, and takes its policy from a ConfigMap."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from binder import Bind
from certificates import self_signed
from committed_queries import ROOT
from config_map import publish
from node_pods import Node, node
from product import Event, eventually
from sandbox import denying, temporary_sandbox

ADDRESS = "127.94.77.1"
SITE = f"http://{ADDRESS}:9477"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests, which follow each other as in a node's life."""
    with (
        temporary_sandbox(tmp_path_factory.mktemp("node")) as sandbox,
        node(sandbox, ADDRESS) as made,
    ):
        publish(made.policy, {"10-policy.yaml": denying(9001, 9004)})
        yield made


def answer(path: str) -> str:
    """What the agent serves there; nothing where it does not answer yet, or says no."""
    try:
        with urllib.request.urlopen(SITE + path, timeout=5) as page:
            return str(page.read().decode())
    except (OSError, http.client.HTTPException):
        return ""


def metric(line: str) -> float:
    """The sum of the values of the series that begin so."""
    found = re.findall(rf"^{re.escape(line)}.* (\S+)$", answer("/metrics"), re.MULTILINE)
    return sum(map(float, found))


def events(node: Node) -> list[Event]:
    """What the agent's container has printed."""
    said = node.podman("logs", "agent").stdout
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def listed(port: int) -> bool:
    """Whether a listener on this port is among the metrics."""
    return f'port="{port}"' in "".join(
        line for line in answer("/metrics").splitlines() if line.startswith("portwatch_listeners{")
    )


def pid_of(event: Event) -> int | None:
    """Of the process that an event is about; None where it is about none."""
    pid: int | None = event.get("process", {}).get("pid")
    return pid


def test_check_speaks_and_lets_pass(here: Node) -> None:
    """The first init container names the mistake in a policy, with no privilege, and ends well."""
    publish(here.policy, {"10-policy.yaml": denying(9001).replace("deny", "dney")})
    done = here.run("check")
    assert done.returncode == 0
    assert "/etc/portwatch/policy.d/10-policy.yaml:4:" in done.stdout + done.stderr
    publish(here.policy, {"10-policy.yaml": denying(9001, 9004)})
    done = here.run("check")
    assert "ok, 1 constraint," in done.stdout, done.stderr


def test_agent_needs_the_loader(here: Node) -> None:
    """The agent's container has nothing to serve before the loader's, and cannot do its work."""
    done = here.run("agent")
    assert done.returncode == 3, done.stderr
    assert "portwatch load" in done.stderr


def test_loads_and_denies(here: Node) -> None:
    """The loader's container enforces and ends; no agent is needed for a refusal."""
    done = here.run("load")
    assert done.returncode == 0, done.stderr
    assert "loaded /etc/portwatch/policy.d" in done.stdout
    binder = here.sandbox.binder()
    assert [binder.bind(9001), binder.bind(9002)] == ["EACCES", "ok"]


def test_agent_tells(here: Node) -> None:
    """The agent's container is healthy and ready, counts the refusal, and prints it with the cgroup
    as the machine calls it and the process by its name."""
    here.start("agent")
    eventually(lambda: answer("/readyz"), 30, "the agent is ready")
    assert answer("/healthz")
    assert metric("portwatch_enforcing") == 1
    binder = here.sandbox.binder()
    before = metric("portwatch_violations_total{")
    assert binder.bind(9004) == "EACCES"
    eventually(lambda: metric("portwatch_violations_total{") == before + 1)
    told = eventually(lambda: [one for one in events(here) if pid_of(one) == binder.pid])
    assert told[0]["workload"]["cgroup"] == here.sandbox.path
    assert told[0]["process"]["comm"].startswith("python")


def test_process_is_found_where_the_machine_has_it(here: Node) -> None:
    """In the container's own cgroup namespace a process's cgroup is called as the machine calls
    it: the policy is explained for the right workload."""
    binder = here.sandbox.binder()
    asked = ("--pid", binder.pid, "--port", "9001/tcp", "--pin-dir", here.sandbox.pin_dir)
    done = here.podman("exec", "agent", "portwatch", "explain", *asked, check=False)
    assert f"in {here.sandbox.path}" in done.stdout.splitlines()[0], done.stdout + done.stderr
    assert "denied by no-such-port" in done.stdout


def test_agent_cannot_attach(here: Node) -> None:
    """Whoever is in the agent's container can load and attach no program there."""
    options = ("--pin-dir", here.sandbox.pin_dir)
    status = here.podman("exec", "agent", "portwatch", "status", "--json", *options)
    assert json.loads(status.stdout)["agent_pid"]
    other = f"{here.sandbox.pin_dir}-other"
    cgroup = f"/host/cgroup/{here.sandbox.cgroup.name}"
    load = ("portwatch", "load", "--pin-dir", other, "--cgroup", cgroup)
    done = here.podman("exec", "agent", *load, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    assert not Path(other).exists()


def test_listeners_by_component(here: Node) -> None:
    """What listens in another network namespace is listed with the component that pays for it with
    privileges, and the host's own without."""
    server, on_host = here.sandbox.binder(), here.sandbox.binder(own_network=False)
    for binder, port in ((server, 9555), (on_host, 9556)):
        assert binder.bind(port, ADDRESS if binder is on_host else "127.0.0.1", listen=True,
                           hold=True) == "ok"  # fmt: skip
    here.podman("restart", "--time=10", "agent")
    eventually(lambda: listed(9556), 30, "the host's own listener is listed")
    assert not listed(9555)
    here.podman("rm", "--force", "--time=10", "agent")
    here.start("agent", "pod-listeners")
    eventually(lambda: listed(9556) and listed(9555), 30, "both are listed")
    here.podman("rm", "--force", "--time=10", "agent")
    here.start("agent")
    eventually(lambda: answer("/readyz"), 30, "the agent is ready")


def test_published_ports_by_component(here: Node) -> None:
    """That the node's NAT rules cannot be read is told as a gap; with the component they are."""
    gap = 'portwatch_uncovered{gap="published_ports"}'
    eventually(lambda: metric(gap) == 1, 30, "the rules are not read")
    here.podman("rm", "--force", "--time=10", "agent")
    here.start("agent", "published-ports")
    eventually(lambda: metric("portwatch_listeners_last_survey_timestamp_seconds"), 30)
    eventually(lambda: answer("/readyz") and not metric(gap), 30, "the rules are read")
    here.podman("rm", "--force", "--time=10", "agent")
    here.start("agent")
    eventually(lambda: answer("/readyz"), 30, "the agent is ready")


def test_tls_by_component(here: Node) -> None:
    """With the component and a Secret of three files the agent answers by TLS, and only so."""
    here.secret.mkdir()
    certificate, key = self_signed(here.secret, "agent", f"IP:{ADDRESS}")
    key.chmod(0o400)
    files = {"cert_file": certificate.name, "key_file": key.name}
    (here.secret / "web.yaml").write_text(json.dumps({"tls_server_config": files}))
    (here.secret / "web.yaml").chmod(0o400)
    here.podman("rm", "--force", "--time=10", "agent")
    here.start("agent", "tls")
    context = ssl.create_default_context(cafile=certificate)

    def by_tls() -> bool:
        try:
            url = f"{SITE.replace('http', 'https')}/readyz"
            with urllib.request.urlopen(url, timeout=5, context=context) as page:
                return bool(page.status == 200)
        except OSError:
            return False

    eventually(by_tls, 30, "the agent is ready")
    assert not answer("/readyz")
    here.podman("rm", "--force", "--time=10", "agent")
    here.start("agent")
    eventually(lambda: answer("/readyz"), 30, "the agent is ready")


def test_health_check_of_the_image(here: Node) -> None:
    """The Dockerfile's HEALTHCHECK is well while an agent serves, and only then."""
    text = (ROOT / "deploy" / "image" / "Dockerfile").read_text().replace("\\\n", " ")
    found = re.search(r"^HEALTHCHECK .*? CMD (\[.*\])$", text, re.MULTILINE)
    assert found
    *command, code = json.loads(found[1])
    here_code = code.replace("127.0.0.1:9477", f"{ADDRESS}:9477")
    assert here_code != code
    assert here.podman("exec", "agent", *command, here_code).returncode == 0
    nowhere = code.replace("127.0.0.1:9477", f"{ADDRESS}:9478")
    assert here.podman("exec", "agent", *command, nowhere, check=False).returncode != 0


def test_config_map_is_followed(here: Node) -> None:
    """A new version of the ConfigMap is in force soon, with no restart: files that come, change and
    go count."""
    binder = here.sandbox.binder()
    publish(here.policy, {"10-policy.yaml": denying(9002)})
    eventually(lambda: (binder.bind(9001), binder.bind(9002)) == ("ok", "EACCES"))
    more = "constraints:\n  - {name: more, deny: [9003]}\n"
    publish(here.policy, {"10-policy.yaml": denying(9002), "20-more.yaml": more})
    eventually(lambda: binder.bind(9003) == "EACCES")
    publish(here.policy, {"10-policy.yaml": denying(9001)})
    eventually(lambda: (binder.bind(9001), binder.bind(9003)) == ("EACCES", "ok"))
    eventually(lambda: metric("portwatch_policy_last_load_successful") == 1)


def test_bad_version_changes_nothing(here: Node) -> None:
    """A bad version of the ConfigMap leaves the one before in force; metric and event say so."""
    publish(here.policy, {"10-policy.yaml": denying(9002) + "  - {name: x, dney: [1]}\n"})
    eventually(lambda: answer("/readyz") and metric("portwatch_policy_last_load_successful") == 0)
    binder = here.sandbox.binder()
    assert [binder.bind(9001), binder.bind(9002)] == ["EACCES", "ok"]
    eventually(lambda: [one for one in events(here) if one.get("result") == "refused"])


def test_upgrade_has_no_lapse(here: Node) -> None:
    """The pod is replaced by one of a newer image, and its policy is bad meanwhile: other programs
    are behind the links, the last good policy is in force, and no bind of a storm gets through."""
    before = here.sandbox.program_ids()
    storm = here.sandbox.binder()
    storm.start_storm([Bind(9001)], pause_seconds=0.001)
    here.podman("rm", "--force", "--time=10", "agent")
    assert not answer("/healthz")
    assert here.sandbox.binder().bind(9001) == "EACCES"
    newer = here.newer("echo '/* newer */' >>/usr/share/portwatch/bpf/portwatch.c")
    assert newer.run("agent").returncode == 3, "it serves nothing that it has not loaded"
    done = newer.run("load")
    assert done.returncode == 0, done.stderr
    assert "the last good policy stays" in done.stderr
    newer.start("agent")
    eventually(lambda: answer("/readyz"), 30, "the newer agent is ready")
    after = here.sandbox.program_ids()
    assert all(after[hook] != before[hook] for hook in before), (before, after)
    answers = storm.end_storm()
    assert set(answers) == {(0, "EACCES")}
    assert sum(answers.values()) > 500
    assert metric("portwatch_policy_last_load_successful") == 0
    publish(here.policy, {"10-policy.yaml": denying(9001)})
    eventually(lambda: metric("portwatch_policy_last_load_successful") == 1)


def test_a_node_boots_with_a_bad_policy(here: Node) -> None:
    """Nothing is pinned any more, and the ConfigMap is bad: the loader's container takes the last
    good version, which the agent's container has kept on the node."""
    publish(here.policy, {"10-policy.yaml": denying(9003)})
    eventually(lambda: "9003" in here.kept_policy(), what="it is kept")
    here.podman("rm", "--force", "--time=10", "agent")
    publish(here.policy, {"10-policy.yaml": denying(9004).replace("deny", "dney")})
    here.sandbox.lose_pins()
    done = here.run("load")
    assert done.returncode == 0, done.stderr
    binder = here.sandbox.binder()
    assert [binder.bind(9003), binder.bind(9004)] == ["EACCES", "ok"]
    here.start("agent")
    eventually(lambda: answer("/readyz"), 30, "the agent is ready")
    assert metric("portwatch_policy_last_load_successful") == 0


def test_unload_removes_it(here: Node) -> None:
    """The unloading pod's container, with no capability, leaves nothing behind; the agent ends."""
    programs = here.sandbox.program_ids()
    done = here.run("unload", overlay="unload")
    assert done.returncode == 0, done.stderr
    status = here.podman("wait", "agent").stdout.strip()
    assert status == "4"
    here.sandbox.assert_nothing_left(programs)
    assert not here.kept_policy()
    assert here.sandbox.binder().bind(9001) == "ok"
