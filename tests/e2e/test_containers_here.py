"""The harness of real containers: what it says of them is so, and nothing of them is left."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
from containerd_engine import Containerd, PodContainer, containerd
from containers import Container, Engine
from docker_engine import docker
from engine_server import EngineServer
from podman_engine import Podman, podman
from product import eventually
from scratch import temporary_cgroup

from portwatch.node.cgroups import cgroup_of_process, find_cgroup2
from portwatch.node.paths import HostPaths

HOST = HostPaths()


@pytest.fixture(scope="module")
def podman_here() -> Iterator[Podman]:
    """One Podman for the tests that leave it running."""
    with temporary_cgroup() as cgroup, podman(cgroup / "podman") as engine:
        yield engine


@pytest.fixture(scope="module")
def docker_here() -> Iterator[Engine]:
    """One Docker for the tests that leave it running."""
    with temporary_cgroup() as cgroup, docker(cgroup / "docker") as engine:
        yield engine


@pytest.fixture(params=["podman", "docker"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of them."""
    return request.getfixturevalue(f"{request.param}_here")


def test_a_container_is_where_the_harness_says(engine: Engine) -> None:
    """Its first process is in the cgroup that the harness names, which ends with it."""
    container = engine.run("where", labels={"tier": "web"})
    assert cgroup_of_process(HOST, container.pid) == container.path
    assert container.path.startswith(engine.path + "/")
    assert container.cgroup.is_dir()
    assert container.path.rpartition("/")[2].removeprefix("libpod-") == container.id
    assert container.inspect()["Config"]["Labels"]["tier"] == "web"
    (container.cgroup / "nested").mkdir()
    container.remove()
    assert not container.cgroup.exists()


def test_a_container_binds_what_it_is_told(engine: Engine) -> None:
    """The host's network is shared: a port that is taken there is refused, any other is not."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        container = engine.run(
            "binds", ("tcp", "127.0.0.1", port), ("udp", "127.0.0.1", 0), ("tcp", "::1", 0)
        )
        assert container.said == ["EADDRINUSE", "ok", "ok"]
        assert container.bind(("tcp", "127.0.0.1", port), ("udp", "0.0.0.0", 0)) == [
            "EADDRINUSE",
            "ok",
        ]
    container.remove()


def test_networks_are_the_hosts_or_their_own(engine: Engine) -> None:
    """`none` is a network namespace of its own, which another container may join."""
    containers = [
        engine.run("of-the-host"),
        own := engine.run("own", ("tcp", "0.0.0.0", 80), network="none"),
        guest := engine.run("guest", ("tcp", "0.0.0.0", 80), network=f"container:{own.name}"),
    ]
    first, second, third = [os.readlink(f"/proc/{one.pid}/ns/net") for one in containers]
    assert first == os.readlink("/proc/self/ns/net")
    assert second == third != first
    assert (own.said, guest.said) == (["ok"], ["EADDRINUSE"])
    for container in reversed(containers):
        container.remove()


def test_a_parent_may_be_named(engine: Engine) -> None:
    """A container goes below any cgroup of the engine's, one that kubelet would make for one."""
    container = engine.run("parent", below="kubepods/besteffort/pod1234")
    assert cgroup_of_process(HOST, container.pid) == container.path
    assert container.path.startswith(f"{engine.path}/kubepods/besteffort/pod1234/")
    container.remove()


def test_the_api_answers_at_its_socket(engine: Engine) -> None:
    """A client of the Docker-compatible API is told the container's name, image and process."""
    container = engine.run("asked")
    facts = _get(engine, f"/containers/{container.id}/json")
    assert facts["Name"] == "/asked"
    assert facts["State"]["Pid"] == container.pid
    assert facts["Config"]["Image"] == "localhost/binder:latest"
    container.remove()


def test_several_start_at_once(engine: Engine) -> None:
    """Each is a cgroup of its own; the one that the engine is below still takes processes."""
    containers = [engine.run(f"many-{number}", ("tcp", "127.0.0.1", 0)) for number in range(4)]
    assert len({one.path for one in containers}) == 4
    assert [one.said for one in containers] == [["ok"]] * 4
    with subprocess.Popen(["sleep", "infinity"]) as beside:
        (engine.room.cgroup.parent / "cgroup.procs").write_text(str(beside.pid))
        beside.kill()
    for container in containers:
        container.remove()


def test_a_pod_has_a_cgroup_of_its_own(podman_here: Podman) -> None:
    """Its containers are below it and share its network, which is not the host's."""
    pod = podman_here.pod("group", network="none")
    one, two = (podman_here.run_in(pod, name, ("tcp", "0.0.0.0", 80)) for name in ("one", "two"))
    for container in (one, two):
        assert cgroup_of_process(HOST, container.pid) == container.path
        assert container.path == f"{podman_here.path}/{pod}/libpod-{container.id}"
    assert sorted(one.said + two.said) == ["EADDRINUSE", "ok"]
    networks = {os.readlink(f"/proc/{one.pid}/ns/net") for one in (one, two)}
    assert len(networks) == 1 and networks != {os.readlink("/proc/self/ns/net")}
    podman_here.cli("pod", "rm", "--force", "--time=0", pod)


def test_containers_outlive_the_api(engine: Engine) -> None:
    """An engine that goes and comes back, twice, knows its containers still."""
    container = engine.run("staying")
    pid = container.pid
    for _ in range(2):
        engine.stop()
        assert not engine.socket.exists()
        assert cgroup_of_process(HOST, pid) == container.path
        engine.start()
        assert _get(engine, f"/containers/{container.id}/json")["State"]["Pid"] == pid
    container.remove()


def test_podman_needs_no_api() -> None:
    """Containers run, and say what they bound, before anybody serves the API."""
    with temporary_cgroup() as cgroup, podman(cgroup / "podman", serving=False) as engine:
        container = engine.run("early", ("udp", "127.0.0.1", 0))
        assert container.said == ["ok"]
        assert not engine.socket.exists()
        engine.start()
        assert _get(engine, f"/containers/{container.id}/json")["Name"] == "/early"


def test_a_kubelets_containers_are_where_it_puts_them() -> None:
    """containerd's are below their pod's cgroup; they stay, and CRI answers, after it has gone."""
    uid = "6a3d7c0e-8a53-4f0c-9f58-2e9c6d7b1a40"
    with temporary_cgroup() as cgroup, containerd(cgroup / "containerd") as engine:
        pod = engine.pod("web-0", uid, namespace="shop")
        containers = [engine.run(pod, name, ("tcp", "127.0.0.1", 0)) for name in ("app", "proxy")]
        for container in containers:
            assert container.said == ["ok"]
            assert container.path == f"{engine.path}/kubepods/besteffort/pod{uid}/{container.id}"
            assert cgroup_of_process(HOST, container.pid) == container.path
        engine.stop()
        assert cgroup_of_process(HOST, containers[0].pid) == containers[0].path
        engine.start()
        containers[0].remove()
        eventually(lambda: cgroup_of_process(HOST, containers[0].pid) is None)
        assert cgroup_of_process(HOST, containers[1].pid) == containers[1].path


@pytest.mark.parametrize("started", [podman, docker, containerd])
def test_nothing_is_left(
    started: Callable[[Path], AbstractContextManager[EngineServer]],
) -> None:
    """After a test that fails, the engine's processes, cgroups, mounts and files are gone, and no
    process of the machine has been moved."""
    before = _machine()
    with temporary_cgroup() as cgroup:
        with pytest.raises(ZeroDivisionError), started(cgroup / "engine") as engine:
            container = _any_container(engine)
            pids = _processes(cgroup)
            assert container.pid in pids and len(pids) > 2
            raise ZeroDivisionError
        assert not any(cgroup.glob("*/"))
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), 20)
    assert not engine.socket.parent.exists()
    assert _machine() == before


def _any_container(engine: EngineServer) -> Container | PodContainer:
    if isinstance(engine, Containerd):
        return engine.run(engine.pod("left", "left"), "left")
    assert isinstance(engine, Engine)
    return engine.run("left")


def _processes(cgroup: Path) -> list[int]:
    return [int(pid) for file in cgroup.rglob("cgroup.procs") for pid in file.read_text().split()]


def _machine() -> dict[str, Any]:
    """What an engine could leave elsewhere."""
    places = ("/run", "/dev/shm", "/var/lib", "/sys/fs/cgroup")
    mounts = [line.split()[4] for line in HOST.mountinfo.read_text().splitlines()]
    files = ("/run/runc", "/run/docker", "/run/containerd", "/run/libpod", "/dev/shm/libpod_lock")
    return {
        "mounts": [mount for mount in mounts if mount.startswith(places)],
        "files": [Path(file).exists() and os.listdir(file) for file in files],
        "libraries": sorted(os.listdir("/var/lib")),
        "controllers": (find_cgroup2(HOST) / "cgroup.subtree_control").read_text(),
        "cgroups": [cgroup_of_process(HOST, pid) for pid in (1, os.getpid())],
    }


def _get(engine: Engine, path: str) -> Any:
    with closing(http.client.HTTPConnection("localhost", timeout=10)) as connection:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(engine.socket))
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
