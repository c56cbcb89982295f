"""Loads that failed, were killed or lost a link: nothing stays behind, and the next mends all."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from binder import Binder
from guard import Guard
from pinned import (
    DENY,
    assert_links_run_what_is_pinned,
    link_ids,
    passes_soon,
    rewrite_meta,
)
from refusals import heard

from portwatch.errors import KernelError, NotLoaded
from portwatch.kernel import layout, loading
from portwatch.kernel.pins import PinDir


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


def test_a_load_that_may_not_read_the_kernels_symbols(
    scratch_pin_dir: PinDir, scratch_cgroup: Path
) -> None:
    """Nor may root, where kptr_restrict is 2: every hook is attached all the same."""
    code = "import sys; from pathlib import Path; from portwatch.kernel import loading; "
    code += "from portwatch.kernel.pins import PinDir; pins, cgroup = map(Path, sys.argv[1:]); "
    code += "assert open('/proc/kallsyms').read(16) == '0' * 16; "
    code += "assert loading.ensure_loaded(PinDir(pins), cgroup)"
    without = ["setpriv", "--bounding-set=-syslog", sys.executable, "-c", code]
    subprocess.run([*without, str(scratch_pin_dir.path), str(scratch_cgroup)], check=True)
    assert "bind4" in link_ids(scratch_pin_dir)


@pytest.mark.native("killed by the clock of a CPU that loads in a second")
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
    assert_links_run_what_is_pinned(guard.pin_dir)
    assert binder.bind(9000) == heard()


def test_a_pin_dir_off_bpffs_is_refused(tmp_path: Path, scratch_cgroup: Path) -> None:
    """A pin directory on another file system is an error that says where to put it."""
    with pytest.raises(KernelError) as caught:
        loading.ensure_loaded(PinDir(tmp_path / "pins"), scratch_cgroup)
    assert "/sys/fs/bpf" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_link_of_an_optional_hook_that_is_gone_comes_back(
    scratch_pin_dir: PinDir, scratch_cgroup: Path
) -> None:
    """Whoever removed it, the next load notices and attaches it again."""
    loading.ensure_loaded(scratch_pin_dir, scratch_cgroup)
    (scratch_pin_dir.links / "listen").unlink()
    assert loading.ensure_loaded(scratch_pin_dir, scratch_cgroup)
    assert (scratch_pin_dir.links / "listen").exists()
