"""The loader: compiles bpf/, loads, attaches, pins, and exits; the only code that imports bcc.

Run as a process of its own (`python -m portwatch.kernel.loader`), so that LLVM's memory goes
with it. Prints nothing where all went well; an error is one JSON object on stdout.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from portwatch import errors
from portwatch.errors import KernelError, PrivilegeMissing
from portwatch.kernel import layout, libbpf, maps
from portwatch.kernel.features import KernelFacts, probe
from portwatch.kernel.hooks import HOOKS, Hook
from portwatch.kernel.pins import PinDir, ensure_bpffs, foreign

PROGRAM_FILE = "portwatch.c"
COMPILER_FLAGS = ("-Wno-macro-redefined", "-Wno-unused-function")
LOADER_TIMEOUT_SECONDS = 60
GO = "go"


class Loading:
    """A loader process that compiles ahead, and touches nothing until finish() says so.

    So a policy can be read and checked while the programs compile. Use as a context manager:
    leaving it without finish() abandons the load.
    """

    def __init__(self, pin_dir: PinDir, cgroup: Path) -> None:
        ensure_bpffs(pin_dir.path)
        self.needed = not is_current(pin_dir, cgroup)
        self._process: subprocess.Popen[str] | None = None
        if self.needed:
            module = "portwatch.kernel.loader"
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(pin_dir.path), str(cgroup)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
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
            self._process.kill()  # it has done nothing yet that would have to be undone
            self._process.communicate()

    def finish(self) -> None:
        """Load and attach; raises the loader's own error where it fails."""
        if self._process is None:
            return
        process, self._process = self._process, None
        try:
            stdout, stderr = process.communicate(GO, timeout=LOADER_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as err:
            process.kill()
            process.communicate()
            raise KernelError(
                f"the loader took over {LOADER_TIMEOUT_SECONDS} s", hint="portwatch doctor"
            ) from err
        if process.returncode != 0:
            raise _reported_error(process.returncode, stdout, stderr)


def ensure_loaded(pin_dir: PinDir, cgroup: Path) -> bool:
    """Load and attach what is not yet: True where the loader process had to run.

    Returns at once where the pins are this version's and every link is on `cgroup`.
    """
    with Loading(pin_dir, cgroup) as loading:
        loading.finish()
    return loading.needed


def source_sha256() -> bytes:
    """Digest of the programs' source and of how they are compiled: 32 bytes."""
    digest = hashlib.sha256(repr(COMPILER_FLAGS).encode())
    for path in sorted(layout.bpf_directory().rglob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.digest()


def layout_sha256() -> bytes:
    """Digest of the shared records: maps made under another cannot be reused; 32 bytes."""
    return hashlib.sha256((layout.bpf_directory() / "layout.h").read_bytes()).digest()


def read_meta(pin_dir: PinDir) -> layout.Meta:
    """What was loaded here; NotLoaded, PinMismatch."""
    meta = pin_dir.open_map("meta")
    try:
        value = meta.get(bytes(4))
    finally:
        meta.close()
    assert value is not None
    return layout.Meta.from_buffer_copy(value)


def is_current(pin_dir: PinDir, cgroup: Path) -> bool:
    """Whether this version's programs are pinned and every required link is on `cgroup`."""
    if not pin_dir.exists():
        return False
    try:
        meta = read_meta(pin_dir)
    except errors.NotLoaded:
        return False
    if bytes(meta.source_sha256) != source_sha256():
        return False
    cgroup_id = cgroup.stat().st_ino
    return all(
        link_target(pin_dir, hook) == (cgroup_id if hook.is_cgroup else 0)
        for hook in HOOKS
        if hook.required or (pin_dir.links / hook.name).exists()
    )


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


class _Load:
    """One run of the loader."""

    def __init__(self, pin_dir: PinDir, cgroup: Path) -> None:
        self.pin_dir = pin_dir
        self.cgroup = cgroup
        self.facts = probe()

    def prepare(self) -> None:
        """Make or open the maps, compile and load the programs: nothing is pinned or attached."""
        self.fresh = not self.pin_dir.exists()
        self.descriptors = {
            name: maps.create(name) if self.fresh else self.open_map(name) for name in maps.MAPS
        }
        self.programs = self.load_programs(self.descriptors)

    def commit(self) -> None:
        """Pin and attach; where anything fails of a fresh load, nothing of it stays."""
        self.pin_dir.create()
        with self.pin_dir.changing():
            if self.fresh and self.pin_dir.exists():
                raise KernelError(
                    f"another process has loaded {self.pin_dir.path} meanwhile", hint="try again"
                )
            try:
                if self.fresh:
                    self.pin_maps()
                self.attach(self.programs)
                self.write_meta(self.descriptors["meta"])
            except BaseException:
                if self.fresh:
                    remove(self.pin_dir)
                raise

    def pin_maps(self) -> None:
        _make_room_for_the_rest(self.descriptors["violations"])
        for name, fd in self.descriptors.items():
            libbpf.object_pin(fd, str(self.pin_dir.maps / name))

    def open_map(self, name: str) -> int:
        pinned = self.pin_dir.open_map(name)
        if name == "meta":
            value = pinned.get(bytes(4))
            assert value is not None
            known = bytes(layout.Meta.from_buffer_copy(value).layout_sha256)
            if known != layout_sha256():
                raise foreign(self.pin_dir.maps / name)
        return pinned.fd

    def load_programs(self, descriptors: dict[str, int]) -> dict[str, int]:
        """Compile and load: hook name → descriptor; optional hooks only where they load."""
        module = _compile(self.facts, descriptors)
        programs = {}
        for hook in HOOKS:
            attach_type = -1 if hook.attach_type is None else hook.attach_type
            try:
                function = module.load_func(hook.name, hook.program_type, attach_type=attach_type)
            except Exception as err:  # bcc raises nothing more precise
                if hook.required:
                    raise KernelError(
                        f"the kernel refuses the program of {hook.name}: {err}",
                        hint="portwatch doctor tells what this kernel lacks",
                    ) from err
                continue
            programs[hook.name] = os.dup(function.fd)
        return programs

    def attach(self, programs: dict[str, int]) -> None:
        """Replace the program behind a link in place; make the links that are missing."""
        for hook in HOOKS:
            if hook.name not in programs:
                continue
            fd = programs[hook.name]
            self.pin_program(hook, fd)
            if hook.is_cgroup and link_target(self.pin_dir, hook) == self.cgroup.stat().st_ino:
                self.replace(hook, fd)
            else:
                self.link(hook, fd)

    def pin_program(self, hook: Hook, fd: int) -> None:
        path = self.pin_dir.programs / hook.name
        path.unlink(missing_ok=True)
        libbpf.object_pin(fd, str(path))

    def replace(self, hook: Hook, fd: int) -> None:
        path = str(self.pin_dir.links / hook.name)
        link = libbpf.object_get(path)
        try:
            libbpf.check(libbpf.library().bpf_link_update(link, fd, None), path)
        finally:
            os.close(link)

    def link(self, hook: Hook, fd: int) -> None:
        """The new link is up before the old one goes: no instant without enforcement."""
        link = self.attach_to_cgroup(hook, fd) if hook.is_cgroup else _attach_tracepoint(hook, fd)
        path = self.pin_dir.links / hook.name
        path.unlink(missing_ok=True)
        libbpf.object_pin(link, str(path))
        os.close(link)

    def attach_to_cgroup(self, hook: Hook, fd: int) -> int:
        assert hook.attach_type is not None
        target = os.open(self.cgroup, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return libbpf.check(
                libbpf.library().bpf_link_create(fd, target, hook.attach_type, None),
                f"attaching {hook.name} to {self.cgroup}",
            )
        finally:
            os.close(target)

    def write_meta(self, fd: int) -> None:
        meta = layout.Meta(
            source_sha256=(ctypes.c_uint8 * 32)(*source_sha256()),
            layout_sha256=(ctypes.c_uint8 * 32)(*layout_sha256()),
            loaded_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            features=int(self.facts.features),
        )
        libbpf.check(libbpf.library().bpf_map_update_elem(fd, bytes(4), bytes(meta), 0), "meta")


def remove(pin_dir: PinDir) -> None:
    """Detach and unpin everything below `pin_dir`, foreign pins too; links go first."""
    for directory in (pin_dir.links, pin_dir.programs, pin_dir.maps):
        if directory.is_dir():
            for path in directory.iterdir():
                path.unlink()
    for directory in (pin_dir.links, pin_dir.programs, pin_dir.maps, pin_dir.agent, pin_dir.path):
        if directory.is_dir():
            directory.rmdir()


def _make_room_for_the_rest(fd: int) -> None:
    """The entries that count what a full map has no room for; see find_violation()."""
    for protocol in range(layout.PROTOCOL_LABELS):
        for verdict in (1, 2):
            key = layout.ViolationKey(protocol=protocol, verdict=verdict)
            libbpf.check(
                libbpf.library().bpf_map_update_elem(
                    fd, bytes(key), bytes(layout.Violation()), libbpf.UPDATE_NOEXIST
                ),
                "violations",
            )


def _attach_tracepoint(hook: Hook, fd: int) -> int:
    return libbpf.check(
        libbpf.library().bpf_raw_tracepoint_open(hook.name.encode(), fd),
        f"attaching to tracepoint {hook.name}",
    )


def _compile(facts: KernelFacts, descriptors: dict[str, int]) -> Any:
    source = layout.bpf_directory()
    os.environ["BCC_KERNEL_SOURCE"] = str(source)  # its include/: no kernel headers needed
    try:
        from bcc import BPF
    except ImportError as err:
        raise KernelError(
            "bcc is missing from this Python", hint="apt-get install python3-bpfcc"
        ) from err
    flags = [*COMPILER_FLAGS, f"-I{source}", *facts.compiler_flags]
    flags += [f"-DFD_{name}={fd}" for name, fd in descriptors.items()]
    try:
        return BPF(src_file=str(source / PROGRAM_FILE), cflags=flags)
    except Exception as err:  # bcc raises nothing more precise
        raise KernelError(
            f"bcc cannot compile {source / PROGRAM_FILE}: {err}", hint="portwatch doctor"
        ) from err


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


def main(arguments: list[str]) -> int:
    """PIN_DIR CGROUP, and GO on stdin; exit 0, or 3 with the error as JSON on stdout."""
    pin_dir, cgroup = PinDir(Path(arguments[0])), Path(arguments[1])
    try:
        load = _Load(pin_dir, cgroup)
        load.prepare()
        if sys.stdin.read() != GO:
            return errors.EXIT_OK
        load.commit()
    except errors.PortwatchError as err:
        failure: errors.PortwatchError = err
    except PermissionError as err:
        failure = PrivilegeMissing(f"not permitted: {err}", hint="run it as root")
    except OSError as err:
        failure = KernelError(f"{err.strerror}: {err.filename}", hint="portwatch doctor")
    else:
        return errors.EXIT_OK
    said = {"error": type(failure).__name__, "message": failure.message, "hint": failure.hint}
    print(json.dumps(said))
    return errors.EXIT_KERNEL


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
