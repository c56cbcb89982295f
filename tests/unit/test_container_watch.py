"""The agent keeps up with containers: it asks as they come and now and then, and never waits."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_servers import DockerEngine, container_id, docker_container, my_run, wait_until

from portwatch.agent.identity.container_watch import REFRESH_SECONDS, ContainerWatch
from portwatch.agent.identity.containers import ContainerBook
from portwatch.node.cgroups import CgroupTree
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.paths import HostPaths

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="the machine's engines are root's")

A = container_id("a1")
WEB = f"/docker/{A}"


class Ground:
    """A watch over an engine of this test's, with a book of its own."""

    def __init__(self, folder: Path) -> None:
        self.host = HostPaths(run=folder / "run")
        self.path = my_run(self.host) / "docker.sock"
        self.engine = DockerEngine(docker_container("a1", "web"))
        self.book = ContainerBook()
        tree = CgroupTree(folder / "cgroup")
        self.watch = ContainerWatch(tree, self.host, self.book, [EngineSocket("docker", self.path)])

    def news(self) -> tuple[set[str], bool]:
        """What came, once something has."""
        cgroups: set[str] = set()
        renamed = False

        def came() -> bool:
            nonlocal renamed
            news = self.watch.read()
            cgroups.update(news.cgroups)
            renamed = renamed or news.renamed
            return bool(cgroups)

        wait_until(came, "an answer")
        return cgroups, renamed


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """With nothing seen yet, and the engine not there."""
    ground = Ground(tmp_path)
    yield ground
    ground.watch.close()


def test_all_cgroups_of_a_container_are_news(ground: Ground) -> None:
    """One answer is for the container's cgroup and for what is nested in it; it is no renaming,
    and asked for once."""
    with ground.engine.serve(ground.path):
        ground.watch.seen([WEB, f"{WEB}/init", "/system.slice/docker.service", f"{WEB}/init"])
        assert ground.news() == ({WEB, f"{WEB}/init"}, False)
        known = ground.book.known(WEB)
        assert known is not None and known.name == "web"
        ground.watch.seen([WEB, f"{WEB}/later"])
        assert ground.watch.containers == (WEB,)
        assert ground.engine.asked == [[A]]


def test_a_container_that_is_renamed(ground: Ground) -> None:
    """It is asked for again now and then; another name is told as one."""
    with ground.engine.serve(ground.path):
        ground.watch.seen([WEB])
        ground.news()
        ground.watch.tick(time.monotonic() + REFRESH_SECONDS)
        wait_until(lambda: len(ground.engine.asked) == 2, "asked again")
        assert ground.watch.read().cgroups == frozenset(), "the same is no news"
        ground.engine.containers = [docker_container("a1", "db")]
        ground.watch.tick(time.monotonic() + 2 * REFRESH_SECONDS)
        assert ground.news() == ({WEB}, True)
        known = ground.book.known(WEB)
        assert known is not None and known.name == "db"


def test_what_has_gone_is_remembered_and_not_asked_for(ground: Ground) -> None:
    """A container that is started again has its name at once; one that has gone is no news."""
    with ground.engine.serve(ground.path):
        ground.watch.seen([WEB, f"{WEB}/init"])
        ground.news()
        ground.watch.gone(f"{WEB}/init")
        assert ground.watch.containers == (WEB,)
        ground.watch.gone(WEB)
        ground.watch.gone("/never/there")
        assert ground.watch.containers == ()
        ground.watch.tick(time.monotonic() + REFRESH_SECONDS)
        assert ground.book.facts(WEB) is not None
        ground.watch.seen([WEB])
        assert ground.watch.containers == (WEB,)
        assert ground.engine.asked == [[A]]


def test_an_engine_that_comes_later(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    """Waiting for it ends in time; that it is absent is said once; when it comes it is asked."""
    ground.watch.seen([WEB])
    ground.watch.wait(0.05)
    assert ground.book.facts(WEB) is None
    wait_until(lambda: ground.watch.problems, "a problem")
    for _ in range(3):
        ground.watch.tick(time.monotonic())
    (said,) = caplog.messages
    assert str(ground.path) in said and "no such socket" in said
    with ground.engine.serve(ground.path):
        assert ground.news() == ({WEB}, False)
        assert ground.watch.problems == {}
