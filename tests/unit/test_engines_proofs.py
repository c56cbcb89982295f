"""Whether an engine really runs a container where it was seen: proved, or not said."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from engine_questions import A, B, FastClock, looking_up, names, read_some, wanted
from engine_servers import (
    DockerEngine,
    docker_container,
    my_socket,
    wait_until,
)

from portwatch.node.cgroups import cgroup_of_process
from portwatch.node.engines.docker_api import DockerApi
from portwatch.node.engines.engine import runs_in
from portwatch.node.engines.facts import ContainerFacts
from portwatch.node.engines.single_lookup import find_now
from portwatch.node.paths import HostPaths


def test_a_container_in_its_own_cgroup_is_verified(host: HostPaths, run: Path) -> None:
    """Its name comes first; that the engine runs it there, when the engine says so."""
    here = cgroup_of_process(HostPaths(), os.getpid())
    assert here
    engine = DockerEngine(docker_container("a1", "x"))
    engine.gate.clear()
    with engine.serve(run / "docker.sock"), looking_up(host) as lookups:
        one = wanted(A, cgroup=here, verify=True)
        lookups.want(one)
        [found] = read_some(lookups)
        assert (found.facts.name, found.verified) == ("x", False)
        engine.containers.append(docker_container("b2", "y"))
        lookups.want(wanted(B))
        assert names(read_some(lookups)) == {B: "y"}  # inspect hangs, names do not
        engine.pids[A] = os.getpid()
        engine.gate.set()
        [found] = read_some(lookups)
        assert (found.wanted, found.facts.name, found.verified) == (one, "x", True)


def test_a_container_elsewhere_is_not_verified(host: HostPaths, run: Path) -> None:
    """A cgroup that only bears another's id gets no proof, however often it is asked for."""
    here = cgroup_of_process(HostPaths(), os.getpid())
    assert here
    engine = DockerEngine(docker_container("a1", "x"), docker_container("b2", "y"))
    engine.pids = {A: os.getpid(), B: os.getpid()}
    forged = f"{here.rstrip('/')}/user-made/{A}"
    beside = f"{here}-beside" if here != "/" else "/beside"
    with (
        engine.serve(run / "docker.sock"),
        looking_up(host, clock=FastClock()) as lookups,
    ):
        for cgroup in (forged, beside):
            lookups.want(wanted(A, cgroup=cgroup, verify=True))
        lookups.want(wanted(B, cgroup=here, verify=True))
        found = read_some(lookups, 4)
        assert [one.wanted.id for one in found if one.verified] == [B]
        wait_until(lambda: not lookups._waiting(), "the proof is given up")
        assert lookups.read() == []


@pytest.mark.parametrize(
    ("place", "is_in"),
    [
        ("/a/b", True),
        ("/a/b/nested", True),
        ("/a", False),
        ("/a/b-beside", False),
        ("/a/c", False),
        ("/", False),
        ("/x/a/b", False),
    ],
)
def test_a_process_is_in_a_cgroup_or_below_it(tmp_path: Path, place: str, is_in: bool) -> None:
    """Neither beside it nor above it, however much the paths are alike."""
    (tmp_path / "4242").mkdir()
    (tmp_path / "4242/cgroup").write_text(f"1:name=systemd:/a/b\n0::{place}\n")
    engine = DockerEngine(docker_container("a1", "x"))
    engine.pids[A] = 4242
    with engine.serve(tmp_path / "x.sock"):
        api = DockerApi(my_socket(tmp_path / "x.sock"))
        assert runs_in(api, A, "/a/b", HostPaths(proc=tmp_path)) is is_in
        assert not runs_in(api, B, "/a/b", HostPaths(proc=tmp_path))
        api.close()


def test_a_pid_that_is_anothers_by_now_proves_nothing(host: HostPaths, tmp_path: Path) -> None:
    """A process that took the pid after the container ended is not the container's."""
    here = cgroup_of_process(HostPaths(), os.getpid())
    pids = [os.getpid(), None]  # it ends while its cgroup is being read

    class Engine:
        def find(self, ids: Sequence[str]) -> list[ContainerFacts]:
            return [ContainerFacts(one, "docker", "x", None, None, ()) for one in ids]

        def first_process(self, container_id: str) -> int | None:
            return pids.pop(0)

        def close(self) -> None:
            pass

    one = wanted(A, cgroup=here or "", verify=True)
    given = [my_socket(tmp_path / "x.sock")]
    assert find_now([one], given, host=HostPaths(), engines=lambda socket: Engine()) == {}
    assert pids == []
    pids[:] = [os.getpid()] * 2
    assert find_now([one], given, host=HostPaths(), engines=lambda socket: Engine())
