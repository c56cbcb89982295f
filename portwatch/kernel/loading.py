"""Having the programs loaded: when the loader must run, running it, and removing what it made.

Never imports bcc: the loader is a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from portwatch import errors
from portwatch.digest import sha256
from portwatch.errors import KernelError, UsageError
from portwatch.kernel import layout, libbpf, maps
from portwatch.kernel.features import Feature
from portwatch.kernel.hooks import COLLISION_HOOKS, HOOKS, Hook, wanted_hooks
from portwatch.kernel.pins import PinDir, ensure_bpffs, is_bpffs

COMPILER_FLAGS = ("-Wno-macro-redefined", "-Wno-unused-function")
LOADER_TIMEOUT_SECONDS = 60
GO = "go"
"""What the loader waits for on stdin before it pins and attaches."""

NO_COLLISIONS = "no-collisions"
"""Tells the loader to do without the programs that see failed binds."""


class Loading:
    """A loader process that compiles ahead, and touches nothing until finish() says so.

    So a policy can be read and checked while the programs compile. Use as a context manager:
    leaving it without finish() abandons the load.
    """

    def __init__(self, pin_dir: PinDir, cgroup: Path, collisions: bool = True) -> None:
        ensure_bpffs(pin_dir.path)
        self.needed = not is_current(pin_dir, cgroup, collisions)
        self._process: subprocess.Popen[str] | None = None
        if self.needed:
            module = "portwatch.kernel.loader"
            self._process = subprocess.Popen(
                # -P: nothing is imported from the directory that portwatch happens to run in.
                [sys.executable, "-P", "-m", module, str(pin_dir.path), str(cgroup)]
                + ([] if collisions else [NO_COLLISIONS]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # a terminal's Ctrl-C is for us to pass on
            )

    def __enter__(self) -> Loading:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            _kill(self._process)  # it has done nothing yet that would have to be undone

    def finish(self) -> None:
        """Load and attach; raises the loader's own error where it fails."""
        if self._process is None:
            return
        process, self._process = self._process, None
        try:
            stdout, stderr = process.communicate(GO, timeout=LOADER_TIMEOUT_SECONDS)
        except BaseException as err:
            _kill(process)  # what it has pinned, the next load or unload deals with
            if not isinstance(err, subprocess.TimeoutExpired):
                raise
            raise KernelError(
                f"the loader took over {LOADER_TIMEOUT_SECONDS} s", hint="portwatch doctor"
            ) from err
        if process.returncode != 0:
            raise _reported_error(process.returncode, stdout, stderr)


def _kill(process: subprocess.Popen[str]) -> None:
    """With the processes that compile for it: the session is its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def ensure_loaded(pin_dir: PinDir, cgroup: Path, collisions: bool = True) -> bool:
    """Load and attach what is not yet: True where the loader process had to run.

    Returns at once where the pins are this version's and every link is on `cgroup`.
    """
    with Loading(pin_dir, cgroup, collisions) as loading:
        loading.finish()
    return loading.needed


def source_sha256() -> bytes:
    """Digest of the programs' source and of how they are compiled: 32 bytes."""
    digest = sha256(repr(COMPILER_FLAGS).encode())
    for path in sorted(layout.bpf_directory().rglob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.digest()


def layout_sha256() -> bytes:
    """Digest of the shared records: maps made under another cannot be reused; 32 bytes."""
    return sha256((layout.bpf_directory() / "layout.h").read_bytes()).digest()


def read_meta(pin_dir: PinDir) -> layout.Meta:
    """What was loaded here; NotLoaded, PinMismatch."""
    meta = pin_dir.open_map("meta")
    try:
        value = meta.get(bytes(4))
    finally:
        meta.close()
    assert value is not None
    return layout.Meta.from_buffer_copy(value)


def is_current(pin_dir: PinDir, cgroup: Path, collisions: bool = True) -> bool:
    """Whether this version's programs are pinned, and every one of them is attached, the bind
    hooks' to `cgroup`; those that see `collisions` or none of them.

    PinMismatch where anything there is not ours.
    """
    try:
        meta = read_meta(pin_dir)
        for name in maps.MAPS:
            pin_dir.open_map(name).close()
    except errors.NotLoaded:
        return False
    if bytes(meta.source_sha256) != source_sha256():
        return False
    pinned = {path.name for path in pin_dir.programs.iterdir()}
    if collisions != bool(pinned & COLLISION_HOOKS) and _has_collision_hooks(meta):
        return False
    cgroup_id = cgroup.stat().st_ino
    return all(
        link_target(pin_dir, hook) == (cgroup_id if hook.is_cgroup else 0)
        for hook in HOOKS
        if hook.required or hook.name in pinned
    )


def _has_collision_hooks(meta: layout.Meta) -> bool:
    wanted = {hook.name for hook in wanted_hooks(Feature(meta.features))}
    return bool(wanted & COLLISION_HOOKS)


def link_target(pin_dir: PinDir, hook: Hook) -> int | None:
    """The cgroup id that a hook's link is on, 0 for a tracepoint; None where it is detached."""
    try:
        fd = libbpf.object_get(str(pin_dir.links / hook.name))
    except OSError:
        return None
    try:
        info = libbpf.object_info(fd, libbpf.LinkInfo())
    except OSError:
        return None
    finally:
        os.close(fd)
    if not hook.is_cgroup:
        return 0
    return int(info.cgroup_id) or None


def remove(pin_dir: PinDir) -> bool:
    """Detach and unpin everything below `pin_dir`, whatever it is; False where nothing was there.

    UsageError where that is no directory of a BPF file system, or its root: both hold what is
    not ours.
    """
    if not pin_dir.path.is_dir():
        return False
    if not is_bpffs(pin_dir.path) or not is_bpffs(pin_dir.path.parent):
        raise UsageError(
            f"{pin_dir.path} is no directory below a BPF file system's root: nothing is removed",
            hint="name the directory that `run` or `load` was given with --pin-dir",
        )
    remove_pins(pin_dir)
    for root, directories, files in os.walk(pin_dir.path, topdown=False):
        for name in files:
            (Path(root) / name).unlink()
        for name in directories:
            (Path(root) / name).rmdir()
    pin_dir.path.rmdir()
    return True


def remove_pins(pin_dir: PinDir) -> None:
    """Detach and unpin what portwatch pins; links go first."""
    for directory in pin_dir.directories:
        if directory.is_dir():
            for path in directory.iterdir():
                if not path.is_dir():
                    path.unlink()


def is_complete(pin_dir: PinDir) -> bool:
    """Whether a load was ever finished here; PinMismatch where the pins are not ours."""
    try:
        return any(read_meta(pin_dir).layout_sha256)
    except errors.NotLoaded:
        return False


def _reported_error(status: int, stdout: str, stderr: str) -> errors.PortwatchError:
    """The loader's own error where it said one, else what it left on stderr."""
    try:
        said = json.loads(stdout.splitlines()[-1])
        kind = getattr(errors, said["error"])
        result = kind(said["message"], hint=said["hint"])
    except (ValueError, IndexError, KeyError, AttributeError, TypeError):
        last_lines = "\n".join(stderr.strip().splitlines()[-5:])
        return KernelError(
            f"the loader ended with status {status}: {last_lines}",
            hint="portwatch doctor",
        )
    assert isinstance(result, errors.PortwatchError)
    return result
