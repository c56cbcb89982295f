"""Loading, loading again, replacing, moving, and removing without a trace."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from binder import Bind, Binder
from guard import Guard
from pinned import (
    CGROUP_HOOKS,
    assert_links_run_what_is_pinned,
    link_ids,
    map_ids,
    passes_soon,
    program_ids,
    put_foreign_map,
    rewrite_meta,
)
from refusals import heard

from portwatch.kernel import loading, maps
from portwatch.kernel.hooks import COLLISION_HOOKS, wanted_hooks
from portwatch.kernel.pins import PinDir
from portwatch.kernel.probe import probe
from portwatch.kernel.readings import Readings

N = 23

pytestmark = pytest.mark.native("about files below /sys/fs/bpf, and each a load of its own")


def test_a_fresh_load_pins_everything_for_its_owner_alone(scratch: tuple[Guard, Binder]) -> None:
    """All maps, programs and links are pinned; directories are 0700, pins 0600, root's."""
    pin_dir = scratch[0].pin_dir
    assert {path.name for path in pin_dir.maps.iterdir()} == set(maps.MAPS)
    names = {hook.name for hook in wanted_hooks(probe().features)}
    assert {path.name for path in pin_dir.programs.iterdir()} == names
    assert {path.name for path in pin_dir.links.iterdir()} == names
    for path in (pin_dir.path, *pin_dir.path.rglob("*")):
        state = path.lstat()
        expected = 0o700 if stat.S_ISDIR(state.st_mode) else 0o600
        assert (stat.S_IMODE(state.st_mode), state.st_uid) == (expected, 0), path


def test_a_second_load_does_nothing(scratch: tuple[Guard, Binder]) -> None:
    """On pins of this version the loader does not run: same programs, links and maps."""
    guard, _ = scratch
    before = link_ids(guard.pin_dir), program_ids(guard.pin_dir), map_ids(guard.pin_dir)
    assert loading.ensure_loaded(guard.pin_dir, guard.cgroup) is False
    assert (link_ids(guard.pin_dir), program_ids(guard.pin_dir), map_ids(guard.pin_dir)) == before


def test_the_pinned_programs_are_those_behind_the_links(scratch: tuple[Guard, Binder]) -> None:
    """A hook's pinned program is the one that its link runs."""
    assert_links_run_what_is_pinned(scratch[0].pin_dir)


def test_another_version_replaces_the_programs_in_place(scratch: tuple[Guard, Binder]) -> None:
    """Where the pins' source is another's, the programs behind the same links are replaced, all
    counts and the policy stay, and under a storm of binds no denied one slips through."""
    guard, binder = scratch
    binder.answers([Bind(9000), Bind(9001)], N)
    links, programs, ids = (
        link_ids(guard.pin_dir), program_ids(guard.pin_dir), map_ids(guard.pin_dir)
    )  # fmt: skip
    storms = [Binder(guard.cgroup) for _ in range(2)]
    try:
        for storm in storms:
            storm.start_storm(
                [Bind(9000), Bind(9000, "::1"), Bind(9000, "0.0.0.0", protocol="udp")]
            )
        for round_number in range(3):
            rewrite_meta(guard.pin_dir, source_sha256=bytes([round_number] * 32))
            assert loading.ensure_loaded(guard.pin_dir, guard.cgroup) is True
        results = [storm.end_storm() for storm in storms]
    finally:
        for storm in storms:
            storm.close()

    assert {said for result in results for _, said in result} == {heard()}
    after = link_ids(guard.pin_dir)
    assert {hook: link for hook, (link, _) in after.items()} == {
        hook: link for hook, (link, _) in links.items()
    }
    assert all(after[hook][1] != links[hook][1] for hook in CGROUP_HOOKS)
    assert not set(program_ids(guard.pin_dir).values()) & set(programs.values())
    assert map_ids(guard.pin_dir) == ids
    assert bytes(loading.read_meta(guard.pin_dir).source_sha256) == loading.source_sha256()
    made = sum(count for result in results for count in result.values())
    assert guard.verdicts() == {"denied": N + made, "allowed": N}
    assert guard.totals.unjudged == 0


def test_another_cgroup_moves_the_links(
    scratch: tuple[Guard, Binder], loaded: tuple[PinDir, Path]
) -> None:
    """A load for another cgroup enforces there, and no longer where it was."""
    guard, binder = scratch
    other = guard.make("/other")
    assert loading.ensure_loaded(guard.pin_dir, other) is True
    assert loading.ensure_loaded(guard.pin_dir, other) is False
    assert passes_soon(binder)
    binder.move(other)
    assert binder.bind(9000) == heard()


def test_remove_ends_enforcement_and_leaves_no_trace(scratch: tuple[Guard, Binder]) -> None:
    """After remove() binds pass again, foreign pins are gone with ours, and so is the directory."""
    guard, binder = scratch
    assert binder.bind(9000) == heard()
    put_foreign_map(guard.pin_dir, "policy")
    loading.remove(guard.pin_dir)
    assert not guard.pin_dir.path.exists()
    assert passes_soon(binder)
    assert passes_soon(binder, "::1")
    guard.reset_totals()
    binder.answers([Bind(9000), Bind(9000, "::1"), Bind(0)], N)
    assert guard.binds == {}


def test_remove_where_nothing_is_loaded(scratch_pin_dir: PinDir) -> None:
    """Removing what is not there is no error."""
    loading.remove(scratch_pin_dir)
    scratch_pin_dir.create()
    loading.remove(scratch_pin_dir)
    assert not scratch_pin_dir.path.exists()


def test_the_watch_for_failed_binds_comes_and_goes(
    scratch_pin_dir: PinDir, scratch_cgroup: Path
) -> None:
    """Without `collisions` none of its programs is there, and the gap has its name; the others
    stay as they are, and with it they are all there again."""

    def watching(collisions: bool) -> set[str]:
        assert loading.ensure_loaded(scratch_pin_dir, scratch_cgroup, collisions)
        assert not loading.ensure_loaded(scratch_pin_dir, scratch_cgroup, collisions)
        pinned = {path.name for path in scratch_pin_dir.links.iterdir()}
        assert pinned == {path.name for path in scratch_pin_dir.programs.iterdir()}
        readings = Readings(scratch_pin_dir)
        assert ("collision" in readings.uncovered()) == (not collisions)
        readings.close()
        return pinned

    everything = watching(collisions=True)
    assert everything & COLLISION_HOOKS
    assert watching(collisions=False) == everything - COLLISION_HOOKS
    assert watching(collisions=True) == everything
