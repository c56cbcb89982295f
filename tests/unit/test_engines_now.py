"""What a command that ends at once finds out."""

from __future__ import annotations

from pathlib import Path

from engine_questions import A, B, wanted
from engine_servers import (
    DockerEngine,
    container_id,
    docker_container,
    no_threads_left,
)

from portwatch.node.engines.single_lookup import find_now
from portwatch.node.paths import HostPaths


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
