"""Look-ups of containers: nobody waits, and no name is mixed up."""

from __future__ import annotations

import select
from pathlib import Path

from engine_questions import A, B, FastClock, looking_up, names, read_some, wanted
from engine_servers import (
    CriEngine,
    DockerEngine,
    container_id,
    cri_container,
    docker_container,
    my_socket,
    wait_until,
)

from portwatch.node.engines.engine import Engine, open_engine
from portwatch.node.engines.lookups import engine_sockets
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.paths import HostPaths


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


def test_what_asks_an_engine_is_loaded_before_it_is_needed(host: HostPaths) -> None:
    """Once for each kind of the machine's engines that is there, also one that comes later, and
    without a question: a container's first bind does not wait for an import."""
    opened: list[str] = []

    def open_and_note(socket: EngineSocket) -> Engine:
        opened.append(socket.runtime)
        return open_engine(socket)

    users = EngineSocket("podman", host.run / "docker.sock", owner_uid=1234)
    with looking_up(host, [users], engines=open_and_note) as lookups:
        lookups.prepare()
        assert opened == []
        (host.run / "crio").mkdir(parents=True)
        (host.run / "docker.sock").touch()
        lookups.prepare()
        (host.run / "crio/crio.sock").touch()
        lookups.prepare()
        assert opened == ["docker", "crio"]
        assert lookups.problems() == {}


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


def test_cri_engines_answer_as_well(host: HostPaths, tmp_path: Path) -> None:
    """A container of a pod is found by the socket that is given for its engine."""
    engine = CriEngine()
    engine.containers[A] = cri_container("a1", "web", "registry.test/shop:1")
    given = [my_socket(tmp_path / "cri.sock", "crio")]
    with engine.serve(tmp_path / "cri.sock"), looking_up(host, given) as lookups:
        lookups.want(wanted(A, "crio"))
        [found] = read_some(lookups)
        assert (found.facts.name, found.facts.runtime) == ("web", "crio")
