"""Look-ups are bounded: what users make up, what nobody reads, threads and connections."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from engine_questions import A, B, FastClock, looking_up, names, read_some, wanted
from engine_servers import (
    ME,
    DockerEngine,
    container_id,
    docker_container,
    no_threads_left,
    wait_until,
)

from portwatch.node.engines import lookups as lookups_module
from portwatch.node.engines import question_queue
from portwatch.node.paths import HostPaths


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
