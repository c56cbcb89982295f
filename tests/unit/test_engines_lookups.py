"""Look-ups of containers: nobody waits, nothing is mixed up, engines come and go."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from engine_servers import (
    ME,
    CriEngine,
    DockerEngine,
    container_id,
    cri_container,
    docker_container,
    http_reply,
    my_run,
    my_socket,
    no_threads_left,
    replying,
    wait_until,
)

from portwatch.errors import EngineFailed
from portwatch.node.cgroups import cgroup_of_process
from portwatch.node.engines import lookups as lookups_module
from portwatch.node.engines import question_queue, stream
from portwatch.node.engines.docker_api import DockerApi
from portwatch.node.engines.engine import runs_in
from portwatch.node.engines.facts import ContainerFacts
from portwatch.node.engines.lookups import ContainerLookups, Found, Wanted, engine_sockets
from portwatch.node.engines.question_queue import QueueClock
from portwatch.node.engines.single_lookup import find_now
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.paths import HostPaths

A, B, C = container_id("a1"), container_id("b2"), container_id("c3")


class FastClock(QueueClock):
    """A hundred seconds go by in one."""

    FASTER = 100.0

    def monotonic(self) -> float:
        """Seconds."""
        return super().monotonic() * self.FASTER

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait until notified, or for so long."""
        super().wait(condition, seconds / self.FASTER)


class StoppedClock(QueueClock):
    """Time goes by only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits = 0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait until notified, or a moment."""
        self.waits += 1
        condition.wait(0.005)

    def looked_at(self) -> None:
        """Wait until the thread has nothing to do at this time."""
        waits = self.waits
        wait_until(lambda: self.waits > waits + 2, "the thread has looked at the time")


@pytest.fixture
def host(tmp_path: Path) -> HostPaths:
    """A machine with a /run of its own."""
    return HostPaths(run=tmp_path / "run")


@pytest.fixture
def run(host: HostPaths) -> Path:
    """Where the sockets of whoever runs the tests are."""
    return my_run(host)


@contextlib.contextmanager
def looking_up(
    host: HostPaths, given: Sequence[EngineSocket] = (), **more: object
) -> Iterator[ContainerLookups]:
    """Look-ups that leave neither thread nor descriptor."""
    before = len(os.listdir("/proc/self/fd"))
    with no_threads_left():
        lookups = ContainerLookups(host, given, **more)  # type: ignore[arg-type]
        try:
            yield lookups
        finally:
            lookups.close()
    assert len(os.listdir("/proc/self/fd")) <= before


def wanted(container: str, runtime: str | None = "docker", cgroup: str = "/x", **more) -> Wanted:
    """A container that is wanted of an engine of whoever runs the tests."""
    return Wanted(container, runtime, more.get("owner_uid", ME), cgroup, more.get("verify", False))


def read_some(lookups: ContainerLookups, count: int = 1) -> list[Found]:
    """So many answers, waited for as the agent's loop does."""
    found: list[Found] = []
    while len(found) < count:
        assert select.select([lookups], [], [], 30)[0], f"only {found}"
        found += lookups.read()
    assert len(found) == count
    return found


def names(found: Sequence[Found]) -> dict[str, str]:
    """Name by id."""
    return {one.wanted.id: one.facts.name for one in found}


def test_a_name_is_found(host: HostPaths, run: Path) -> None:
    """What is wanted comes back with its facts, once; the descriptor is then quiet."""
    engine = DockerEngine(docker_container("a1", "shop"))
    with engine.serve(run / "docker.sock"), looking_up(host) as lookups:
        assert not select.select([lookups], [], [], 0)[0]
        assert lookups.want(wanted(A))
        [found] = read_some(lookups)
        assert (found.wanted, found.facts.name, found.verified) == (wanted(A), "shop", False)
        assert not select.select([lookups], [], [], 0)[0]
        assert lookups.read() == []
        assert lookups.problems() == {}


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


def test_the_first_goes_out_at_once_and_others_together(host: HostPaths, run: Path) -> None:
    """One question is under way with the first id; all that come meanwhile share the next ones."""
    ids = [container_id(f"{number:03}") for number in range(250)]
    engine = DockerEngine(*(docker_container(one, f"c{one[:3]}") for one in ids))
    engine.list_gate.clear()
    with engine.serve(run / "docker.sock"), looking_up(host) as lookups:
        for one in ids:
            lookups.want(wanted(one))
            lookups.want(wanted(one))
            if one == ids[0]:
                wait_until(lambda: engine.asked, "the first is asked for")
        engine.list_gate.set()
        assert names(read_some(lookups, 250)) == {one: f"c{one[:3]}" for one in ids}
    assert engine.asked[0] == ids[:1]
    assert [len(asked) for asked in engine.asked] == [1, 100, 100, 49]


def test_a_container_that_comes_late(host: HostPaths, run: Path) -> None:
    """An engine that does not know it yet is asked again."""
    engine = DockerEngine()
    with engine.serve(run / "docker.sock"), looking_up(host) as lookups:
        lookups.want(wanted(A))
        wait_until(lambda: len(engine.asked) >= 2, "it is asked again")
        engine.containers.append(docker_container("a1", "late"))
        assert names(read_some(lookups)) == {A: "late"}


def test_a_container_that_never_comes(host: HostPaths, run: Path) -> None:
    """It is asked for five times, then given up without a word until it is wanted again."""
    engine = DockerEngine(docker_container("b2", "other"))
    with (
        engine.serve(run / "docker.sock"),
        looking_up(host, clock=FastClock()) as lookups,
    ):
        for rounds in (1, 2):
            lookups.want(wanted(A))
            wait_until(lambda rounds=rounds: len(engine.asked) == 5 * rounds, "five times")
            lookups.want(wanted(B))
            assert names(read_some(lookups)) == {B: "other"}
            engine.asked[:] = [asked for asked in engine.asked if asked == [A]]
            assert len(engine.asked) == 5 * rounds
            assert lookups.problems() == {}


def test_two_engines_with_one_name(host: HostPaths, run: Path) -> None:
    """Each container gets what its own engine says, though both are called the same."""
    (run / "podman").mkdir()
    docker = DockerEngine(docker_container("a1", "db", Image="docker-image"))
    podman = DockerEngine(docker_container("b2", "db", Image="podman-image"))
    with (
        docker.serve(run / "docker.sock"),
        podman.serve(run / "podman/podman.sock"),
        looking_up(host) as lookups,
    ):
        lookups.want(wanted(A, "docker"))
        lookups.want(wanted(B, "podman"))
        found = {one.wanted.id: one.facts for one in read_some(lookups, 2)}
    assert (found[A].image, found[A].runtime) == ("docker-image", "docker")
    assert (found[B].image, found[B].runtime) == ("podman-image", "podman")
    assert (docker.asked, podman.asked) == ([[A]], [[B]])


def test_an_engine_that_knows_anothers_id(host: HostPaths, run: Path) -> None:
    """Only engines of the container's own runtime are asked, whatever others claim to have."""
    (run / "podman").mkdir()
    liar = DockerEngine(docker_container("a1", "forged"))
    engine = DockerEngine(docker_container("a1", "real"))
    with (
        liar.serve(run / "podman/podman.sock"),
        engine.serve(run / "docker.sock"),
        looking_up(host) as lookups,
    ):
        lookups.want(wanted(A, "docker"))
        assert names(read_some(lookups)) == {A: "real"}
    assert liar.asked == []


def test_engines_of_another_owner_are_not_asked(host: HostPaths) -> None:
    """A user's engine answers for that user's containers only, and the machine's for the rest."""
    user = host.run / "user/1234"
    (user / "podman").mkdir(parents=True)
    (host.run / "podman").mkdir()
    for path in (user / "podman/podman.sock", user / "docker.sock", host.run / "docker.sock"):
        path.touch()
    mine = EngineSocket("podman", host.run / "podman/podman.sock")
    own = wanted(A, None, owner_uid=1234)
    assert {one.owner_uid for one in engine_sockets(host, (), own)} == {1234}
    assert {one.owner_uid for one in engine_sockets(host, (mine,), own)} == {1234}
    assert engine_sockets(host, (), wanted(A, "podman", owner_uid=0)) == [mine]
    assert engine_sockets(host, (), wanted(A, "crio", owner_uid=1234)) == []


def test_which_sockets_are_asked(host: HostPaths) -> None:
    """Those that are there, all where none is, and one that is given in place of the well-known."""

    def asked(runtime: str | None, *given: EngineSocket) -> list[Path]:
        return [
            socket.path for socket in engine_sockets(host, given, wanted(A, runtime, owner_uid=0))
        ]

    docker = host.run / "docker.sock"
    k3s = host.run / "k3s/containerd/containerd.sock"
    k3s.parent.mkdir(parents=True)
    assert asked("docker") == [docker]
    assert asked("containerd") == [host.run / "containerd/containerd.sock", k3s]
    assert asked(None) == []
    docker.touch()
    k3s.touch()
    assert asked(None) == [docker, k3s]
    assert asked("containerd") == [k3s]
    given = EngineSocket("docker", host.run / "x.sock")
    assert asked("docker", given) == [given.path]
    assert asked(None, given) == [k3s]


def test_a_users_directory_is_not_looked_at(host: HostPaths) -> None:
    """It may hang: whether a user's sockets are there is found out by whoever asks them."""
    user = host.run / "user/1234"
    user.mkdir(parents=True)
    (user / "docker.sock").touch()
    for runtime, paths in (
        ("docker", [user / "docker.sock"]),
        (None, [user / "docker.sock", user / "podman/podman.sock"]),
    ):
        sockets = engine_sockets(host, (), wanted(A, runtime, owner_uid=1234))
        assert [socket.path for socket in sockets] == paths


def test_any_engine_may_have_it(host: HostPaths, run: Path) -> None:
    """Where the runtime is not known all are asked, and who has it stops the others."""
    (run / "podman").mkdir()
    without = DockerEngine()
    engine = DockerEngine(docker_container("a1", "here"))
    with (
        without.serve(run / "podman/podman.sock"),
        engine.serve(run / "docker.sock"),
        looking_up(host) as lookups,
    ):
        engine.list_gate.clear()
        lookups.want(wanted(A, None))
        wait_until(lambda: len(without.asked) >= 2, "both are asked")
        engine.list_gate.set()
        [found] = read_some(lookups)
        assert (found.facts.name, found.facts.runtime) == ("here", "docker")
        lookups.want(wanted(B, "podman"))
        wait_until(lambda: [B] in without.asked, "the other one is still asked for others")
        asked = without.asked.count([A])
        wait_until(lambda: without.asked.count([B]) >= 3, "and again")
        assert without.asked.count([A]) == asked


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


def test_what_is_forgotten_is_not_told(host: HostPaths, run: Path) -> None:
    """Neither what was found but not read, nor what is under way, nor asked for again."""
    engine = DockerEngine(docker_container("a1", "x"), docker_container("b2", "y"))
    with engine.serve(run / "docker.sock"), looking_up(host) as lookups:
        lookups.want(wanted(A))
        assert select.select([lookups], [], [], 30)[0]
        lookups.forget(A)
        assert lookups.read() == []
        assert not select.select([lookups], [], [], 0)[0]
        engine.list_gate.clear()
        lookups.want(wanted(A))
        wait_until(lambda: len(engine.asked) == 2, "it is under way")
        lookups.forget(A)
        engine.list_gate.set()
        lookups.want(wanted(B))
        assert names(read_some(lookups)) == {B: "y"}


def test_one_id_in_two_cgroups_is_two(host: HostPaths, run: Path) -> None:
    """Whoever makes a cgroup with another's id and removes it, takes no name from that one."""
    engine = DockerEngine(docker_container("a1", "x"))
    engine.list_gate.clear()
    with engine.serve(run / "docker.sock"), looking_up(host) as lookups:
        lookups.want(wanted(A, cgroup="/real"))
        lookups.want(wanted(A, cgroup="/forged"))
        lookups.forget(A, "/forged")
        engine.list_gate.set()
        assert [one.wanted.cgroup for one in read_some(lookups)] == ["/real"]


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


def test_too_many_are_refused(host: HostPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more are taken than there is room for, half of it for what users can make up."""
    monkeypatch.setattr(lookups_module, "MAX_WANTED", 6)
    own = [wanted(container_id(f"0{n}"), owner_uid=0) for n in range(8)]
    claimed = [wanted(container_id(f"1{n}"), owner_uid=0, verify=True) for n in range(5)]
    users = [wanted(container_id(f"2{n}"), owner_uid=1234) for n in range(5)]
    for made_up in (claimed, users):
        with looking_up(host) as lookups:
            assert [lookups.want(one) for one in made_up] == [True] * 3 + [False] * 2
            assert "engines" in lookups.problems()
            assert [lookups.want(one) for one in own] == [True] * 3 + [False] * 5
            for one in made_up:
                lookups.forget(one.id)
            assert [lookups.want(one) for one in own[3:]] == [True] * 3 + [False] * 2
            assert not lookups.want(made_up[0])


def test_what_is_not_read_takes_room(
    host: HostPaths, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that nobody reads do not pile up, and once they are read there is room again."""
    monkeypatch.setattr(lookups_module, "MAX_WANTED", 4)
    ids = [container_id(f"{n:02}") for n in range(5)]
    engine = DockerEngine(*(docker_container(one[:2], "x") for one in ids))
    with engine.serve(run / "docker.sock"), looking_up(host) as lookups:
        room = 4 if ME == 0 else 2
        for one in ids[:room]:
            assert lookups.want(wanted(one))
        wait_until(lambda: sum(map(len, engine.asked)) >= room, "all are asked for")
        assert not lookups.want(wanted(ids[4]))
        assert set(names(read_some(lookups, room))) == set(ids[:room])
        assert lookups.want(wanted(ids[4]))
        assert names(read_some(lookups)) == {ids[4]: "x"}


def test_users_cannot_make_threads_without_end(
    host: HostPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many engines at most have a thread; one of which nothing is wanted makes room."""
    monkeypatch.setattr(lookups_module, "MAX_SOCKETS", 4)
    with looking_up(host, clock=FastClock()) as lookups:
        wants = [wanted(A, "podman", owner_uid=5000 + uid) for uid in range(4)]
        assert [lookups.want(one) for one in wants] == [True] * 2 + [False] * 2
        assert len([t for t in threading.enumerate() if t.name.startswith("podman=")]) <= 2
        assert lookups.want(wanted(B, "podman", owner_uid=0))
        assert lookups.want(wanted(B, "docker", owner_uid=0))
        assert not lookups.want(wanted(B, "crio", owner_uid=0))
        lookups.forget(A)
        assert lookups.want(wanted(B, "crio", owner_uid=0))


def test_a_thread_without_work_ends(
    host: HostPaths, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection along, and comes back when something is wanted again."""
    engine = DockerEngine(docker_container("a1", "x"))
    with (
        engine.serve(run / "docker.sock") as server,
        looking_up(host, clock=FastClock()) as lookups,
    ):
        for count in (1, 2, 3):
            with no_threads_left():
                lookups.want(wanted(A))
                assert names(read_some(lookups)) == {A: "x"}
                monkeypatch.setattr(question_queue, "IDLE_SECONDS", 1.0)
            assert server.connections == count


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


def test_cri_engines_answer_as_well(host: HostPaths, tmp_path: Path) -> None:
    """A container of a pod is found by the socket that is given for its engine."""
    engine = CriEngine()
    engine.containers[A] = cri_container("a1", "web", "registry.test/shop:1")
    given = [my_socket(tmp_path / "cri.sock", "crio")]
    with engine.serve(tmp_path / "cri.sock"), looking_up(host, given) as lookups:
        lookups.want(wanted(A, "crio"))
        [found] = read_some(lookups)
        assert (found.facts.name, found.facts.runtime) == ("web", "crio")


def test_all_that_is_known_now(host: HostPaths, run: Path) -> None:
    """All engines are asked at once; what one cannot say takes nothing from what others do."""
    (run / "podman").mkdir()
    (run / "docker.sock").touch()
    many = [container_id(f"{number:03}") for number in range(150)]
    engine = DockerEngine(*(docker_container(one, one[:3]) for one in many))
    with no_threads_left(), engine.serve(run / "podman/podman.sock"):
        wants = [wanted(one, "podman") for one in many] + [wanted(A), wanted(B, "podman")]
        found = find_now(wants, host=host, timeout_seconds=30)
    assert {one.id: facts.name for one, facts in found.items()} == {one: one[:3] for one in many}
    assert find_now([], host=host) == {}


def test_what_is_known_when_time_is_up(host: HostPaths, run: Path) -> None:
    """An engine that hangs is left behind, and so is its thread."""
    (run / "podman").mkdir()
    hanging = DockerEngine()
    hanging.list_gate.clear()
    engine = DockerEngine(docker_container("b2", "prompt"))
    with (
        no_threads_left(),
        hanging.serve(run / "docker.sock"),
        engine.serve(run / "podman/podman.sock"),
    ):
        found = find_now([wanted(A), wanted(B, "podman")], host=host, timeout_seconds=1.0)
        assert {one.id: facts.name for one, facts in found.items()} == {B: "prompt"}
        hanging.list_gate.set()


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
