"""Engines that are absent, slow, restarted or talk nonsense: only their own names are missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from engine_questions import A, B, C, FastClock, StoppedClock, looking_up, names, read_some, wanted
from engine_servers import (
    DockerEngine,
    container_id,
    docker_container,
    http_reply,
    replying,
    wait_until,
)

from portwatch.errors import EngineFailed
from portwatch.node.engines import stream
from portwatch.node.engines.facts import ContainerFacts
from portwatch.node.paths import HostPaths


def test_nothing_waits_for_an_engine_that_hangs(host: HostPaths, run: Path) -> None:
    """While an engine does not answer, what is wanted of others comes, and all can be closed."""
    (run / "podman").mkdir()
    hanging = DockerEngine(docker_container("a1", "never"))
    hanging.list_gate.clear()
    engine = DockerEngine(docker_container("b2", "prompt"))
    with (
        hanging.serve(run / "docker.sock"),
        engine.serve(run / "podman/podman.sock"),
        looking_up(host) as lookups,
    ):
        lookups.want(wanted(A))
        wait_until(lambda: hanging.asked, "it is asked")
        lookups.want(wanted(B, "podman"))
        assert names(read_some(lookups)) == {B: "prompt"}
        lookups.close()
        lookups.close()
        assert not lookups.want(wanted(C))
        assert lookups.read() == []
        hanging.list_gate.set()


def test_an_absent_engine_is_asked_once_it_is_there(host: HostPaths, run: Path) -> None:
    """It is a problem while something is wanted of it, and none when it answers."""
    socket = f"docker={run}/docker.sock"
    with looking_up(host, clock=FastClock()) as lookups:
        lookups.want(wanted(A))
        wait_until(lookups.problems, "a problem")
        assert lookups.problems() == {socket: "there is no such socket"}
        with DockerEngine(docker_container("a1", "shop")).serve(run / "docker.sock"):
            assert names(read_some(lookups)) == {A: "shop"}
            assert lookups.problems() == {}


def test_a_restarted_engine_is_asked_again(
    host: HostPaths, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before, while it is away and after: every name comes, and each change is logged once."""
    caplog.set_level("INFO")
    with looking_up(host, clock=FastClock()) as lookups:
        with DockerEngine(docker_container("a1", "before")).serve(run / "docker.sock"):
            lookups.want(wanted(A))
            assert names(read_some(lookups)) == {A: "before"}
        lookups.want(wanted(B))
        lookups.want(wanted(C))
        wait_until(lookups.problems, "a problem")
        with DockerEngine(docker_container("b2", "after"), docker_container("c3", "too")).serve(
            run / "docker.sock"
        ):
            assert names(read_some(lookups, 2)) == {B: "after", C: "too"}
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"ignoring docker={run}/docker.sock for now: there is no such socket",
        f"docker={run}/docker.sock answers again",
    ]


@pytest.mark.parametrize("reply", [b"", b"garbage", http_reply({}), http_reply([{"Id": 1}])])
def test_an_engine_that_talks_nonsense(host: HostPaths, run: Path, reply: bytes) -> None:
    """Its failure is a problem of that engine, and only of it."""
    (run / "podman").mkdir()
    with (
        replying(run / "docker.sock", reply),
        DockerEngine(docker_container("b2", "fine")).serve(run / "podman/podman.sock"),
        looking_up(host) as lookups,
    ):
        lookups.want(wanted(A))
        lookups.want(wanted(B, "podman"))
        assert names(read_some(lookups)) == {B: "fine"}
        wait_until(lookups.problems, "a problem")
        assert list(lookups.problems()) == [f"docker={run}/docker.sock"]


def test_an_engine_that_fails_is_left_alone_for_a_while(host: HostPaths, run: Path) -> None:
    """Ever longer, whatever else comes to be wanted of it meanwhile."""
    clock = StoppedClock()
    with (
        replying(run / "docker.sock", b"garbage") as server,
        looking_up(host, clock=clock) as lookups,
    ):
        lookups.want(wanted(A))
        for failures, rest_seconds in enumerate((1.0, 2.0, 5.0, 30.0, 30.0), 1):
            wait_until(lambda n=failures: server.connections == n, "it is asked once more")
            clock.looked_at()
            lookups.want(wanted(container_id(f"{failures:02}")))
            clock.now += rest_seconds - 0.1
            clock.looked_at()
            assert server.connections == failures
            clock.now += 0.2


def test_one_that_cannot_be_answered_keeps_no_other_back(host: HostPaths, run: Path) -> None:
    """Podman does not answer for a container that hangs: others asked for with it get names."""
    ids = [container_id(f"{number:02}") for number in range(20)]
    engine = DockerEngine(*(docker_container(one, f"c{one[:2]}") for one in ids))
    engine.stuck = ids[7]
    engine.list_gate.clear()
    with (
        engine.serve(run / "docker.sock"),
        looking_up(host, clock=FastClock()) as lookups,
    ):
        for one in ids:
            lookups.want(wanted(one))
        engine.list_gate.set()
        assert set(names(read_some(lookups, 19))) == set(ids) - {engine.stuck}
        wait_until(lookups.problems, "a problem")
        engine.stuck = None
        assert names(read_some(lookups)) == {ids[7]: "c07"}


def test_a_slow_engine_is_given_up_and_tried_again(
    host: HostPaths, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not answer in time fails, and its answer comes when it has recovered."""
    monkeypatch.setattr(stream, "READ_SECONDS", 0.2)
    engine = DockerEngine(docker_container("a1", "slow"))
    engine.list_gate.clear()
    with (
        engine.serve(run / "docker.sock"),
        looking_up(host, clock=FastClock()) as lookups,
    ):
        lookups.want(wanted(A))
        wait_until(lookups.problems, "a problem")
        assert list(lookups.problems().values()) == ["no answer in time"]
        engine.list_gate.set()
        assert names(read_some(lookups)) == {A: "slow"}


def test_a_fault_of_our_own_is_a_problem_too(host: HostPaths, run: Path) -> None:
    """A thread that meets what nobody foresaw goes on, and says so."""
    (run / "docker.sock").touch()
    faults: list[Exception] = [KeyError("surprise"), EngineFailed("it failed")]

    class Engine:
        def find(self, ids: Sequence[str]) -> list[ContainerFacts]:
            if faults:
                raise faults.pop(0)
            return [ContainerFacts(one, "docker", "x", None, None, ()) for one in ids]

        def first_process(self, container_id: str) -> int | None:
            return None

        def close(self) -> None:
            pass

    with looking_up(host, clock=FastClock(), engines=lambda socket: Engine()) as lookups:
        lookups.want(wanted(A))
        assert names(read_some(lookups)) == {A: "x"}


def test_no_engine_holds_up_the_end_of_the_process(tmp_path: Path) -> None:
    """A process ends at once though an engine has not answered it."""
    with replying(tmp_path / "x.sock", hold=True):
        code = (
            "import os, sys, time; from pathlib import Path;"
            "from portwatch.node.engines import stream; stream.READ_SECONDS = 1000;"
            "stream.REPLY_SECONDS = 1000;"
            "from portwatch.node.engines.lookups import ContainerLookups, Wanted;"
            "from portwatch.node.engines.sockets import EngineSocket;"
            "from portwatch.node.paths import HostPaths;"
            f"socket = EngineSocket('docker', Path(r'{tmp_path}/x.sock'), os.getuid());"
            "lookups = ContainerLookups(HostPaths(), [socket]);"
            f"lookups.want(Wanted('{A}', 'docker', os.getuid(), '/', False));"
            "time.sleep(0.2); sys.argv[1:] and lookups.close(); print('bye')"
        )
        for arguments in ([], ["close"]):
            ended = subprocess.run(
                [sys.executable, "-c", code, *arguments],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            assert (ended.stdout, ended.stderr) == ("bye\n", "")
