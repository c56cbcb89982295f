"""portwatch with real containers: a constraint holds for the one it names, and events name it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from containerd_engine import containerd
from containers import Container, Endpoint, Engine
from docker_engine import docker
from podman_engine import podman
from product import AgentProcess, Event, eventually
from sandbox import Sandbox

PORT, OTHER = 18080, 18081
IMAGE = "localhost/binder:latest"
LABELS = {"com.docker.compose.service": "web", "org.opencontainers.image.title": "not ours"}


def web(port: int, address: str = "127.0.0.1") -> Endpoint:
    """What a container may be told to bind."""
    return "tcp", address, port


def keeping(selector: str) -> str:
    """A policy that lets what is selected bind PORT and nothing else."""
    return (
        "version: 1\nmode: enforce\nconstraints:\n"
        f"  - {{name: own-port, for: {selector}, allow: [{PORT}], reason: its port}}\n"
    )


def reserving(selector: str) -> str:
    """A policy that keeps PORT for what is selected, of all that is below the engine's cgroup."""
    return (
        "version: 1\nmode: enforce\nconstraints:\n"
        "  - {name: reserved, for: {cgroup: /**/engines}, "
        f"except: {selector}, deny: [{PORT}]}}\n"
    )


@pytest.fixture(params=["podman", "docker"])
def engine(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Engine]:
    """Each engine, with its containers below the sandbox's cgroup."""
    started = {"podman": podman, "docker": docker}[request.param]
    parent = sandbox.make("engines")
    with started(parent / request.param) as found:
        yield found


def agent_on(sandbox: Sandbox, policy: str, *engines: Engine) -> AgentProcess:
    """An agent that knows where these engines answer."""
    options = [word for one in engines for word in ("--engine", f"{one.runtime}={one.socket}")]
    return sandbox.agent(sandbox.policy(policy), *options)


def refused(agent: AgentProcess, container: Container, port: int = OTHER) -> Event:
    """The event of a bind that the container is refused, once its name is known."""
    eventually(lambda: container.bind(web(port)) == ["EACCES"], 20, f"{container.name} is refused")
    return eventually(lambda: agent.violations(port), what="it is told")[-1]


def test_a_container_keeps_to_its_ports(sandbox: Sandbox, engine: Engine) -> None:
    """A container that binds outside its range is refused by its name, and the event says which
    one it was; what is in its range and other containers are untouched."""
    agent = agent_on(sandbox, keeping("{container: web}"), engine)
    container = engine.run("web", web(PORT), labels=LABELS)
    other = engine.run("web2", web(OTHER, "127.0.0.2"))
    event = refused(agent, container)
    assert event["constraint"] == "own-port"
    assert event["reason"] == "its port"
    workload = event["workload"]
    assert workload["cgroup"] == container.path
    assert workload["name"] == f"{engine.runtime}:web"
    assert re.fullmatch("sha256:[0-9a-f]{64}", workload["container"].pop("image_id"))
    assert workload["container"] == {
        "id": container.id,
        "name": "web",
        "image": IMAGE,
        "runtime": engine.runtime,
        "labels": {"com.docker.compose.service": "web"},
    }
    assert "pod" not in workload and "unit" not in workload
    assert event["process"]["comm"] == "bind"
    assert event["process"]["container_pid"] < event["process"]["pid"]
    assert event["bind"]["network"] == "host"
    assert (container.said, other.said) == (["ok"], ["ok"])
    assert other.bind(web(PORT, "127.0.0.3")) == ["ok"]
    labels = {"constraint": "own-port", "workload": f"{engine.runtime}:web", "port": str(OTHER)}
    assert agent.metric("portwatch_violations_total", **labels) >= 1


def test_top_has_the_bind_behind_a_count(sandbox: Sandbox, engine: Engine) -> None:
    """Under a constraint that names a container, too, it finds which of the binds that the kernel
    remembers was the one that was refused."""
    agent = agent_on(sandbox, keeping("{container: web}"), engine)
    container = engine.run("web", web(PORT))
    refused(agent, container)
    done = sandbox.run("top", "--json", *_engines(engine))
    name = f"{engine.runtime}:web"
    rows = [row for row in json.loads(done.stdout)["rows"] if row["workload"] == name]
    assert [(row["kind"], row["port"]) for row in rows] == [("violation", OTHER), ("bind", PORT)]
    assert {(row["cgroup"], row["scope"]) for row in rows} == {(container.path, "loopback")}


@pytest.mark.parametrize("selector", ["id", "image"])
def test_by_id_and_image(sandbox: Sandbox, engine: Engine, selector: str) -> None:
    """The short id that engines print, and the image without its tag, mean the container too."""
    container = engine.run("web")
    meant = {"id": f"container: {container.id[:12]}", "image": "image: localhost/binder"}[selector]
    agent = agent_on(sandbox, keeping(f"{{{meant}}}"), engine)
    assert container.bind(web(OTHER), web(PORT)) == ["EACCES", "ok"]
    assert refused(agent, container)["workload"]["container"]["id"] == container.id


def test_the_first_bind(sandbox: Sandbox, engine: Engine) -> None:
    """What a container may bind is known by its first instruction, also when it starts again."""
    agent = agent_on(sandbox, reserving("{container: web}"), engine)
    container = engine.run("web", web(PORT))
    intruder = engine.run("intruder", web(PORT, "127.0.0.2"))
    assert (container.said, intruder.said) == (["ok"], ["EACCES"])
    (event,) = agent.violations(PORT)
    assert event["workload"]["container"]["id"] == intruder.id
    engine.cli("stop", "--time=0", container.id)
    engine.cli("start", container.id)
    eventually(lambda: engine.cli("logs", container.id).split() == ["ok", "ok"], 20)
    assert len(agent.violations(PORT)) == 1


def test_what_is_nested_in_a_container_is_that_container(sandbox: Sandbox, engine: Engine) -> None:
    """A cgroup that a container makes, whatever it calls it, does not lead out of a constraint."""
    agent = agent_on(sandbox, keeping("{container: web}"), engine)
    container = engine.run("web")
    refused(agent, container)
    nested = container.cgroup / f"docker-{'ab' * 32}.scope"
    nested.mkdir()
    binder = sandbox.binder(nested, own_network=False)
    eventually(lambda: binder.bind(OTHER + 1) == "EACCES")
    event = eventually(lambda: agent.violations(OTHER + 1))[0]
    assert event["process"]["pid"] == binder.pid
    assert event["workload"]["container"]["id"] == container.id
    assert event["workload"]["cgroup"] == f"{container.path}/{nested.name}"
    binder.close()


def test_two_engines_with_one_container_name(sandbox: Sandbox) -> None:
    """Both are meant by the name, and neither is taken for the other."""
    parent = sandbox.make("engines")
    with podman(parent / "podman") as first, docker(parent / "docker") as second:
        agent = agent_on(sandbox, keeping("{container: db}"), first, second)
        containers = [one.run("db") for one in (first, second)]
        for number, container in enumerate(containers):
            event = refused(agent, container, OTHER + number)
            found = event["workload"]["container"]
            assert (found["id"], found["runtime"]) == (container.id, container.engine.runtime)
            assert event["workload"]["name"] == f"{container.engine.runtime}:db"
        done = sandbox.run(
            "explain", "--container", "db", "--port", OTHER, *_engines(first, second)
        )
        assert done.returncode == 2
        assert "runs 2 times" in done.stderr
        assert all(container.path in done.stderr for container in containers)


def _engines(*engines: Engine) -> list[str]:
    return [word for one in engines for word in ("--engine", f"{one.runtime}={one.socket}")]


def test_an_engine_that_is_slow_absent_or_restarted(sandbox: Sandbox, engine: Engine) -> None:
    """No verdict and no event waits for it: the id is known by the cgroup alone; names come when
    it comes back, and stay when it goes."""
    engine.stop()
    policy = keeping("{cgroup: /**/engines}")
    if engine.runtime == "podman":
        agent = agent_on(sandbox, policy, engine)
        nameless = engine.run("web")
        event = refused(agent, nameless)
        assert event["workload"]["container"]["id"] == nameless.id
        engine.start()
    else:  # without its daemon nothing starts; a stopped one accepts, and does not answer
        engine.start()
        nameless = engine.run("web")
        assert engine.process
        engine.process.send_signal(signal.SIGSTOP)
        agent = agent_on(sandbox, policy, engine)
        binder = sandbox.binder(nameless.cgroup, own_network=False)
        assert binder.bind(OTHER) == "EACCES"
        event = eventually(lambda: agent.violations(OTHER))[0]
        assert event["workload"]["container"] == {"id": nameless.id, "runtime": engine.runtime}
        binder.close()
        engine.process.send_signal(signal.SIGCONT)

    def named() -> bool:
        nameless.bind(web(OTHER))
        told: list[dict[str, Any]] = [e["workload"]["container"] for e in agent.violations(OTHER)]
        return any("labels" in one or one.get("image") == IMAGE for one in told)

    eventually(named, 60, "the engine is asked again")
    engine.stop()
    event = agent.violations(OTHER)[-1]
    assert event["workload"]["container"]["name"] == "web"


def test_whose_network_it_is(sandbox: Sandbox, engine: Engine) -> None:
    """An event in a container's network namespace names the container that it was made for, also
    where another container joined it."""
    agent = agent_on(sandbox, keeping("{container: [owner, guest]}"), engine)
    owner = engine.run("owner", network="none")
    guest = engine.run("guest", network="container:owner")
    for number, container in enumerate((owner, guest)):
        event = refused(agent, container, OTHER + number)
        inode = os.stat(f"/proc/{owner.pid}/ns/net").st_ino
        assert event["bind"]["network"] == f"net:[{inode}]"
        assert event["bind"]["network_owner"]["container"]["id"] == owner.id
        assert event["workload"]["container"]["id"] == container.id
    guest.remove()


def test_explain_and_listeners_use_the_same_names(sandbox: Sandbox, engine: Engine) -> None:
    """`explain` of a container, of its process and of its cgroup agree with the kernel; so does
    `listeners`."""
    container = engine.run("web", web(OTHER))
    policy = sandbox.policy(keeping("{container: web}"))
    given = _engines(engine)
    for asked in (
        ("--container", "web"),
        ("--container", container.id[:12]),
        ("--pid", container.pid),
        ("--cgroup", container.path),
    ):
        question = [policy, *asked, "--port", OTHER, "--json", *given]
        facts = json.loads(sandbox.run("explain", *question).stdout)
        assert (facts["verdict"], facts["constraint"]) == ("denied", "own-port"), asked
        assert facts["cgroup"] == container.path
    done = sandbox.run("listeners", "--policy", policy, "--port", OTHER, "--json", *given)
    (listener,) = json.loads(done.stdout)
    assert (listener["verdict"], listener["constraint"]) == ("denied", "own-port")
    assert listener["workload"]["name"] == f"{engine.runtime}:web"
    assert listener["workload"]["container"]["name"] == "web"
    sandbox.load(policy, *given)
    assert container.bind(web(OTHER)) == ["EACCES"]
    needs = json.loads(sandbox.run("doctor", "--json", *given).stdout)["needs"]
    (need,) = [need for need in needs if need["name"] == "container names"]
    assert need["met"] and "containers" in need["found"]
    nobody = sandbox.run("explain", policy, "--container", "nobody", "--port", 1, *given)
    assert nobody.returncode == 2
    assert "no container `nobody` runs here" in nobody.stderr


UID = "0b1c2d3e-1111-2222-3333-444455556666"


@pytest.mark.parametrize("by", ["uid", "path", "container"])
def test_a_pod(sandbox: Sandbox, by: str) -> None:
    """A pod is meant by its uid, by its cgroup as the kubelet makes it, and its containers by the
    names they have in it; events name both."""
    with containerd(sandbox.make("engines") / "containerd") as engine:
        pod, other = engine.pod("web-0", UID), engine.pod("web-1", UID.replace("0b", "0c"))
        path = f"{engine.path}/kubepods/besteffort/pod{UID}"
        meant = {"uid": f"pod: {UID}", "path": f"pod: {path}", "container": "container: front"}[by]
        agent = agent_on(sandbox, keeping(f"{{{meant}}}"), engine)
        container = engine.run(pod, "front", web(PORT), web(OTHER))
        spared = engine.run(other, "back", web(OTHER, "127.0.0.2"))
        assert container.said == ["ok", "EACCES"]
        assert spared.said == ["ok"]
        event = eventually(lambda: agent.violations(OTHER))[0]
        workload = event["workload"]
        assert workload["name"] == f"pod:{UID}"
        assert workload["pod"]["uid"] == UID
        assert workload["container"]["id"] == container.id
        if by == "container":  # whose name was known by then
            assert workload["pod"] == {"namespace": "default", "name": "web-0", "uid": UID}
            assert workload["container"]["name"] == "front"
            assert workload["container"]["runtime"] == "containerd"
