"""Loading, loading again, replacing, refusing what is not ours, and removing without a trace."""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from binder import Bind, Binder
from guard import Guard
from refusals import heard

from portwatch.errors import AlreadyRunning, KernelError, NotLoaded, PinMismatch
from portwatch.kernel import layout, libbpf, loading, maps
from portwatch.kernel.hooks import COLLISION_HOOKS, HOOKS, wanted_hooks
from portwatch.kernel.pins import PinDir
from portwatch.kernel.probe import probe
from portwatch.kernel.readings import Readings

N = 23
DENY = "version: 1\nmode: enforce\nconstraints:\n  - {name: no-9000, deny: [9000]}\n"
CGROUP_HOOKS = [hook.name for hook in HOOKS if hook.is_cgroup]
LAZY_SECONDS = 2.0  # the kernel detaches an unpinned link from a work queue


@pytest.fixture
def scratch(scratch_cgroup: Path, scratch_pin_dir: PinDir) -> Iterator[tuple[Guard, Binder]]:
    """A load of this test's own, with a deny list live and a child that binds under it."""
    assert loading.ensure_loaded(scratch_pin_dir, scratch_cgroup)
    guard, binder = Guard(scratch_pin_dir, scratch_cgroup), Binder(scratch_cgroup)
    guard.publish(DENY)
    yield guard, binder
    binder.close()
    guard.close()


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of what is pinned there."""
    fd = libbpf.object_get(str(path))
    try:
        yield fd
    finally:
        os.close(fd)


def link_ids(pin_dir: PinDir) -> dict[str, tuple[int, int]]:
    """Hook → (link id, id of the program behind it)."""
    found = {}
    for hook in CGROUP_HOOKS:
        with opened(pin_dir.links / hook) as fd:
            info = libbpf.object_info(fd, libbpf.LinkInfo())
        found[hook] = (info.id, info.prog_id)
    return found


def program_ids(pin_dir: PinDir) -> dict[str, int]:
    """Hook → id of the pinned program."""
    found = {}
    for path in pin_dir.programs.iterdir():
        with opened(path) as fd:
            found[path.name] = int(libbpf.object_info(fd, libbpf.ProgramInfo()).id)
    return found


def map_ids(pin_dir: PinDir) -> dict[str, int]:
    """Map → its id."""
    found = {}
    for path in pin_dir.maps.iterdir():
        with opened(path) as fd:
            found[path.name] = int(libbpf.object_info(fd, libbpf.MapInfo()).id)
    return found


def rewrite_meta(pin_dir: PinDir, **fields: bytes) -> None:
    """Make the pins look as if they were of another version."""
    meta = loading.read_meta(pin_dir)
    for name, value in fields.items():
        setattr(meta, name, (ctypes.c_uint8 * 32)(*value))
    pinned = pin_dir.open_map("meta")
    pinned.put(bytes(4), bytes(meta))
    pinned.close()


def put_foreign_map(pin_dir: PinDir, name: str) -> None:
    """Pin a map of somebody else's under one of our names."""
    fd = libbpf.check(
        libbpf.library().bpf_map_create(libbpf.MAP_ARRAY, b"foreign", 4, 4, 1, None), "foreign"
    )
    (pin_dir.maps / name).unlink(missing_ok=True)
    libbpf.object_pin(fd, str(pin_dir.maps / name))
    os.close(fd)


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
    start = time.perf_counter()
    assert loading.ensure_loaded(guard.pin_dir, guard.cgroup) is False
    assert time.perf_counter() - start < 0.3
    assert (link_ids(guard.pin_dir), program_ids(guard.pin_dir), map_ids(guard.pin_dir)) == before


def test_the_pinned_programs_are_those_behind_the_links(scratch: tuple[Guard, Binder]) -> None:
    """A hook's pinned program is the one that its link runs."""
    pin_dir = scratch[0].pin_dir
    programs = program_ids(pin_dir)
    assert {hook: program for hook, (_, program) in link_ids(pin_dir).items()} == {
        hook: programs[hook] for hook in CGROUP_HOOKS
    }


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


def test_a_missing_link_is_made_good(scratch: tuple[Guard, Binder]) -> None:
    """A hook whose link is gone is attached again by the next load; the others are left alone."""
    guard, binder = scratch
    kept = link_ids(guard.pin_dir)["bind4"][0]
    (guard.pin_dir.links / "bind6").unlink()
    assert passes_soon(binder, "::1")
    assert loading.ensure_loaded(guard.pin_dir, guard.cgroup) is True
    assert binder.bind(9000, "::1") == heard()
    assert link_ids(guard.pin_dir)["bind4"][0] == kept


def test_the_entries_for_the_rest_are_made_good(scratch: tuple[Guard, Binder]) -> None:
    """A load over pins whose first loader died too early still makes the entries that count what
    a full violations map has no room for."""
    guard, _ = scratch
    violations = guard.pin_dir.open_map("violations")
    rest = {
        bytes(layout.ViolationKey(protocol=protocol, verdict=verdict))
        for protocol in range(layout.PROTOCOL_LABELS)
        for verdict in (1, 2)
    }
    assert set(violations.keys()) == rest
    violations.delete_all(rest)
    rewrite_meta(guard.pin_dir, source_sha256=bytes(32))
    assert loading.ensure_loaded(guard.pin_dir, guard.cgroup) is True
    assert set(violations.keys()) == rest
    violations.close()


@pytest.mark.parametrize("after_seconds", [0.2, 0.5, 0.65, 0.8])
def test_a_load_killed_half_way_is_made_good(
    after_seconds: float, scratch_pin_dir: PinDir, scratch_cgroup: Path
) -> None:
    """Whenever the loader is killed, the next load ends with everything in place."""
    command = [
        sys.executable, "-m", "portwatch.kernel.loader", str(scratch_pin_dir.path),
        str(scratch_cgroup),
    ]  # fmt: skip
    process = subprocess.Popen(command)
    time.sleep(after_seconds)
    process.kill()
    process.wait()
    loading.ensure_loaded(scratch_pin_dir, scratch_cgroup)
    assert loading.ensure_loaded(scratch_pin_dir, scratch_cgroup) is False
    guard, binder = Guard(scratch_pin_dir, scratch_cgroup), Binder(scratch_cgroup)
    guard.publish(DENY)
    assert binder.bind(9000) == heard()
    binder.close()
    guard.close()


def test_a_layout_of_another_version_is_refused(scratch: tuple[Guard, Binder]) -> None:
    """Maps made under another layout are not touched: PinMismatch says how to be rid of them, and
    what was enforced still is."""
    guard, binder = scratch
    rewrite_meta(guard.pin_dir, source_sha256=bytes(32), layout_sha256=b"\1" * 32)
    with pytest.raises(PinMismatch) as caught:
        loading.ensure_loaded(guard.pin_dir, guard.cgroup)
    assert f"portwatch unload --pin-dir {guard.pin_dir.path}" in caught.value.hint
    assert str(guard.pin_dir.maps / "meta") in caught.value.message
    assert binder.bind(9000) == heard()


@pytest.mark.parametrize("name", ["control", "tables", "violations", "events", "policy"])
def test_a_foreign_map_is_refused(name: str, scratch: tuple[Guard, Binder]) -> None:
    """Somebody else's map under one of our names is never read or written, by no one of us."""
    guard, _ = scratch
    put_foreign_map(guard.pin_dir, name)
    with pytest.raises(PinMismatch) as caught:
        guard.pin_dir.open_map(name)
    assert "unload" in caught.value.hint
    rewrite_meta(guard.pin_dir, source_sha256=bytes(32))
    with pytest.raises(PinMismatch, match=name):
        loading.ensure_loaded(guard.pin_dir, guard.cgroup)
    with pytest.raises(PinMismatch, match=name):
        Guard(guard.pin_dir, guard.cgroup)


def test_a_program_pinned_as_a_map_is_refused(scratch: tuple[Guard, Binder]) -> None:
    """A pin that is no map at all is told apart too."""
    guard, _ = scratch
    with opened(guard.pin_dir.programs / "bind4") as fd:
        (guard.pin_dir.maps / "policy").unlink()
        libbpf.object_pin(fd, str(guard.pin_dir.maps / "policy"))
    with pytest.raises(PinMismatch, match="policy"):
        guard.pin_dir.open_map("policy")


def test_a_corrupt_meta_is_refused(scratch: tuple[Guard, Binder]) -> None:
    """Meta of another size, or full of rubbish, is PinMismatch and not a crash."""
    guard, _ = scratch
    meta = guard.pin_dir.open_map("meta")
    meta.put(bytes(4), os.urandom(meta.value_size))
    meta.close()
    with pytest.raises(PinMismatch):
        loading.ensure_loaded(guard.pin_dir, guard.cgroup)
    put_foreign_map(guard.pin_dir, "meta")
    with pytest.raises(PinMismatch, match="meta"):
        loading.ensure_loaded(guard.pin_dir, guard.cgroup)


def test_a_failed_load_leaves_nothing_behind(scratch_pin_dir: PinDir, tmp_path: Path) -> None:
    """Where attaching fails there is an error with a hint, and no pin, directory or link stays."""
    with pytest.raises(KernelError) as caught:
        loading.ensure_loaded(scratch_pin_dir, tmp_path)
    assert caught.value.hint
    assert not scratch_pin_dir.path.exists()
    with pytest.raises(NotLoaded):
        scratch_pin_dir.open_map("control")


def test_a_failed_load_over_pins_leaves_them_at_work(
    scratch: tuple[Guard, Binder], tmp_path: Path
) -> None:
    """Where a load over working pins fails, enforcement stays, and a good load mends all."""
    guard, binder = scratch
    with pytest.raises(KernelError):
        loading.ensure_loaded(guard.pin_dir, tmp_path)
    assert binder.bind(9000) == heard()
    assert binder.bind(9000, "::1") == heard()
    loading.ensure_loaded(guard.pin_dir, guard.cgroup)
    test_the_pinned_programs_are_those_behind_the_links(scratch)
    assert binder.bind(9000) == heard()


def test_a_pin_dir_off_bpffs_is_refused(tmp_path: Path, scratch_cgroup: Path) -> None:
    """A pin directory on another file system is an error that says where to put it."""
    with pytest.raises(KernelError) as caught:
        loading.ensure_loaded(PinDir(tmp_path / "pins"), scratch_cgroup)
    assert "/sys/fs/bpf" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def passes_soon(binder: Binder, address: str = "127.0.0.1") -> bool:
    """Whether a bind to the denied port goes through before long."""
    deadline = time.monotonic() + LAZY_SECONDS
    while binder.bind(9000, address) != "ok":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


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


HOLD = """
import sys
from pathlib import Path
from portwatch.kernel.pins import PinDir
from portwatch.kernel.probe import probe
with getattr(PinDir(Path(sys.argv[1])), sys.argv[2])():
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held_elsewhere(pin_dir: PinDir, lock: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds `serving` or `changing` until it is told to go on."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(pin_dir.path), lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_one_agent_at_a_time(end: signal.Signals, scratch_pin_dir: PinDir) -> None:
    """serving() is one process's; a second gets AlreadyRunning with a hint; a holder that was
    killed holds nothing."""
    scratch_pin_dir.create()
    assert scratch_pin_dir.agent_pid() is None
    with held_elsewhere(scratch_pin_dir, "serving") as other:
        assert scratch_pin_dir.agent_pid() == other.pid
        with pytest.raises(AlreadyRunning) as caught, scratch_pin_dir.serving():
            pass
        assert "--pin-dir" in caught.value.hint
        with scratch_pin_dir.changing():
            pass  # the agent at rest keeps nobody from changing the policy
        os.kill(other.pid, end)
        other.wait()
        assert scratch_pin_dir.agent_pid() is None
        with (
            scratch_pin_dir.serving(),
            pytest.raises(AlreadyRunning),
            scratch_pin_dir.serving(),
        ):
            pass
    with scratch_pin_dir.serving():
        pass


def test_serving_where_nothing_is_loaded(scratch_pin_dir: PinDir) -> None:
    """There is nothing to serve where nothing was loaded."""
    with pytest.raises(NotLoaded), scratch_pin_dir.serving():
        pass


def test_a_swap_waits_for_one_that_runs(guard: Guard, binder: Binder) -> None:
    """Whoever publishes while another process changes the pins waits for it, and then publishes."""
    with held_elsewhere(guard.pin_dir, "changing") as other:
        start = time.monotonic()
        timer = threading.Timer(0.4, other.kill)
        timer.start()
        guard.publish(DENY)
        waited = time.monotonic() - start
        timer.join()
    assert 0.4 <= waited < 5
    assert binder.bind(9000) == heard()


def test_two_publishers_take_turns(guard: Guard, binder: Binder) -> None:
    """The last to publish wins; the other knows that it was superseded, and can publish again."""
    other = Guard(guard.pin_dir, guard.cgroup)
    guard.publish(DENY)
    other.publish(DENY.replace("9000", "9001"))
    assert [binder.bind(port) for port in (9000, 9001)] == ["ok", heard()]
    assert guard.publisher.superseded()
    assert not other.publisher.superseded()
    guard.publish(DENY.replace("9000", "9002"))
    assert [binder.bind(port) for port in (9000, 9001, 9002)] == ["ok", "ok", heard()]
    assert other.publisher.superseded()
    stored = other.publisher.stored()
    assert stored is not None
    assert stored.sources == (("policy.yaml", DENY.replace("9000", "9002")),)
    other.close()


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


def test_a_link_of_an_optional_hook_that_is_gone_comes_back(
    scratch_pin_dir: PinDir, scratch_cgroup: Path
) -> None:
    """Whoever removed it, the next load notices and attaches it again."""
    loading.ensure_loaded(scratch_pin_dir, scratch_cgroup)
    (scratch_pin_dir.links / "listen").unlink()
    assert loading.ensure_loaded(scratch_pin_dir, scratch_cgroup)
    assert (scratch_pin_dir.links / "listen").exists()
