"""Names that real engines give their containers: found, proved, and found again after a restart."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from containers import Engine
from docker_engine import docker
from podman_engine import podman
from scratch import temporary_cgroup

from portwatch.node.engines.lookups import ContainerLookups, Found, Wanted
from portwatch.node.engines.single_lookup import find_now
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.paths import HostPaths

HOST = HostPaths()


@pytest.fixture(scope="module", params=[podman, docker], ids=["podman", "docker"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine in turn, its API served."""
    with temporary_cgroup() as cgroup, request.param(cgroup / "engine") as engine:
        yield engine


def socket_of(engine: Engine) -> EngineSocket:
    """Where it is asked."""
    return EngineSocket(engine.runtime, Path(engine.socket))


def read_some(lookups: ContainerLookups, count: int) -> list[Found]:
    """So many answers, waited for."""
    found: list[Found] = []
    while len(found) < count:
        assert select.select([lookups], [], [], 60)[0], f"only {found}"
        found += lookups.read()
    return found


def test_a_container_has_the_name_that_its_engine_gives_it(engine: Engine) -> None:
    """Name, image and labels; another's are not taken for it."""
    one = engine.run("one", labels={"tier": "web", "org.opencontainers.image.title": "x"})
    two = engine.run("two")
    with closing(ContainerLookups(HOST, [socket_of(engine)])) as lookups:
        for container in (one, two):
            lookups.want(Wanted(container.id, engine.runtime, 0, container.path, False))
        facts = {found.wanted.id: found.facts for found in read_some(lookups, 2)}
        assert lookups.problems() == {}
    assert (facts[one.id].name, facts[two.id].name) == (one.name, two.name)
    assert facts[one.id].labels == (("tier", "web"),)
    assert facts[one.id].image == "localhost/binder:latest"
    assert (facts[one.id].image_id or "").startswith("sha256:")
    assert facts[one.id].runtime == engine.runtime
    one.remove()
    two.remove()


def test_only_a_containers_own_cgroup_is_proved(engine: Engine) -> None:
    """The engine runs it in its cgroup, not in one elsewhere that bears its id."""
    container = engine.run("own")
    forged = container.cgroup.parent / f"forged-{container.id[:8]}" / container.id
    forged.mkdir(parents=True)
    try:
        path = f"{container.path.rpartition('/')[0]}/{forged.parent.name}/{container.id}"
        own = Wanted(container.id, engine.runtime, 0, container.path, True)
        others = Wanted(container.id, engine.runtime, 0, path, True)
        found = find_now([own, others], [socket_of(engine)], timeout_seconds=30)
        assert {one.cgroup: facts.name for one, facts in found.items()} == {
            container.path: container.name
        }
        with closing(ContainerLookups(HOST, [socket_of(engine)])) as lookups:
            for one in (own, others):
                lookups.want(one)
            told = read_some(lookups, 3)
        assert [one.wanted for one in told if one.verified] == [own]
    finally:
        forged.rmdir()
        forged.parent.rmdir()
        container.remove()


def test_an_engine_that_is_restarted(engine: Engine) -> None:
    """Its containers live on without it, and have their names when it is back."""
    container = engine.run("survivor")
    wanted = Wanted(container.id, engine.runtime, 0, container.path, False)
    with closing(ContainerLookups(HOST, [socket_of(engine)])) as lookups:
        lookups.want(wanted)
        assert read_some(lookups, 1)[0].facts.name == container.name
        engine.stop()
        lookups.want(wanted)
        while not lookups.problems():
            assert not select.select([lookups], [], [], 0.05)[0], "it answers though it has ended"
        engine.start()
        assert read_some(lookups, 1)[0].facts.name == container.name
        assert lookups.problems() == {}
    container.remove()
