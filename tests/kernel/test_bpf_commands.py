"""What a process can still do with bpf() after it gave up attaching."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from portwatch.kernel.pins import PinDir

ATTEMPTS = """
import errno, os, sys
from pathlib import Path
from portwatch.kernel import libbpf
from portwatch.kernel.bpf_commands import renounce_attaching
from portwatch.kernel.pins import PinDir

pins, cgroup = PinDir(Path(sys.argv[1])), os.open(sys.argv[2], os.O_RDONLY)
program = libbpf.object_get(str(pins.programs / "bind4"))
link = libbpf.object_get(str(pins.links / "bind4"))
lib = libbpf.library()
if "renounced" in sys.argv:
    renounce_attaching()
    program = libbpf.object_get(str(pins.programs / "bind4"))  # pins can be opened all the same
control = pins.open_map("control")
control.put(bytes(4), control.get(bytes(4)))

def attempt(name, call, *arguments):
    result = call(*arguments)
    print(name, errno.errorcode[-result] if result < 0 else "ok")

attempt("link_create", lib.bpf_link_create, program, cgroup, 8, None)
attempt("link_update", lib.bpf_link_update, link, program, None)
attempt("map_create", lib.bpf_map_create, 2, b"x", 4, 4, 1, None)
if "renounced" in sys.argv:
    attempt("prog_attach", lib.bpf_prog_attach, program, cgroup, 8, 2)
    attempt("raw_tracepoint", lib.bpf_raw_tracepoint_open, b"sys_enter", program)
    attempt("link_detach", lib.bpf_link_detach, link)
"""


def attempts(pin_dir: PinDir, cgroup: Path, *more: str) -> dict[str, str]:
    """The errno of each by name, `ok` where it worked."""
    command = [sys.executable, "-c", ATTEMPTS, str(pin_dir.path), str(cgroup), *more]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


def test_attaching_is_given_up(loaded: tuple[PinDir, Path], scratch_cgroup: Path) -> None:
    """A process that gave up attaching reads and writes maps, and is refused all else: also what
    the pinned programs alone would let it do."""
    pin_dir, _ = loaded
    before = attempts(pin_dir, scratch_cgroup)
    assert before == dict.fromkeys(("link_create", "link_update", "map_create"), "ok")
    after = attempts(pin_dir, scratch_cgroup, "renounced")
    assert len(after) == 6
    assert set(after.values()) == {"EPERM"}


def test_its_children_have_given_up_too(loaded: tuple[PinDir, Path]) -> None:
    """A child is bound by it, whatever it runs."""
    code = (
        "import subprocess; from portwatch.kernel.bpf_commands import renounce_attaching; "
        "renounce_attaching(); subprocess.run(['bpftool', 'prog', 'show'], check=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Operation not permitted" in done.stdout + done.stderr
