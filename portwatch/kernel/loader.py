"""The loader: has bpf/ compiled, loads, attaches, pins, and exits.

Run as a process of its own (`python -m portwatch.kernel.loader`), so that LLVM's memory goes
with it. Prints nothing where all went well; an error is one JSON object on stdout.
"""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import mmap
import os
import sys
import time
from pathlib import Path

from portwatch import errors
from portwatch.errors import KernelError, PrivilegeMissing
from portwatch.kernel import layout, libbpf, maps
from portwatch.kernel.bpfmap import BpfMap
from portwatch.kernel.btf import KernelTypes
from portwatch.kernel.compiler import compile_files
from portwatch.kernel.hook_history import keep_reattached, runs_kept
from portwatch.kernel.hooks import HOOKS, Hook, Place, wanted_hooks
from portwatch.kernel.loading import (
    COMPILER_FLAGS,
    GO,
    NO_COLLISIONS,
    is_complete,
    layout_sha256,
    link_target,
    read_meta,
    remove,
    remove_pins,
    source_sha256,
)
from portwatch.kernel.mounts import tracepoint_id
from portwatch.kernel.pins import PinDir, foreign
from portwatch.kernel.probe import probe

ROOT_CGROUP = 1
"""The id of the hierarchy's root, whose inode number it is."""

log = logging.getLogger(__name__)


class _Load:
    """One run of the loader."""

    def __init__(self, pin_dir: PinDir, cgroup: Path, collisions: bool = True) -> None:
        self.pin_dir = pin_dir
        self.cgroup = cgroup
        self.facts = probe()
        self.wanted = wanted_hooks(self.facts.features, collisions)

    def prepare(self) -> None:
        """Make or open the maps, compile and load the programs: nothing is pinned or attached."""
        self.fresh = not is_complete(self.pin_dir)
        self.made: dict[str, int] = {}
        self.descriptors = {name: self.open_map(name) for name in maps.MAPS}
        self.reused = self.pinned_programs()
        self.programs = self.reused or self.load_programs(self.descriptors)

    def commit(self) -> None:
        """Pin and attach; where anything fails of a fresh load, nothing of it stays."""
        self.pin_dir.create()
        with self.pin_dir.changing():
            if self.fresh and is_complete(self.pin_dir):
                self.prepare()  # another process was quicker: its maps are ours too
            try:
                if self.fresh:
                    remove_pins(self.pin_dir)  # what a loader that was killed has left
                self.pin_maps()
                _name_cgroup(self.descriptors["control"], self.cgroup)
                self.attach()
                self.write_meta(self.descriptors["meta"])
            except BaseException:
                if self.fresh:
                    remove(self.pin_dir)
                raise

    def pin_maps(self) -> None:
        _make_room_for_the_rest(self.descriptors)
        if "control" in self.made:
            _sow_seeds(self.made["control"])
        for name, fd in self.made.items():
            libbpf.object_pin(fd, str(self.pin_dir.maps / name))

    def open_map(self, name: str) -> int:
        """The pinned map, or a new one where a fresh load, or somebody's rm, leaves none."""
        if self.fresh or not (self.pin_dir.maps / name).exists():
            self.made[name] = maps.create(name)
            return self.made[name]
        pinned = self.pin_dir.open_map(name)
        if name == "meta":
            value = pinned.get(bytes(4))
            assert value is not None
            known = bytes(layout.Meta.from_buffer_copy(value).layout_sha256)
            if known != layout_sha256():
                raise foreign(self.pin_dir.maps / name)
        return pinned.fd

    def pinned_programs(self) -> dict[str, int]:
        """Those of an earlier load of these very sources, where links to cgroups are all that is
        missing: hook name → descriptor. None where anything else is."""
        if self.fresh or self.made:
            return {}
        pinned = {path.name for path in self.pin_dir.programs.iterdir()}
        is_whole = pinned == {hook.name for hook in self.wanted} and all(
            hook.is_cgroup or link_target(self.pin_dir, hook) is not None for hook in self.wanted
        )
        if not is_whole or bytes(read_meta(self.pin_dir).source_sha256) != source_sha256():
            return {}
        return {name: libbpf.object_get(str(self.pin_dir.programs / name)) for name in pinned}

    def load_programs(self, descriptors: dict[str, int]) -> dict[str, int]:
        """Compile and load: hook name → descriptor; optional hooks only where they load."""
        files: dict[str, list[str]] = {}
        for hook in self.wanted:
            files.setdefault(hook.file, []).append(hook.c_function)
        flags = [*COMPILER_FLAGS, *self.facts.compiler_flags]
        flags += [f"-DFD_{name}={fd}" for name, fd in descriptors.items()]
        types = KernelTypes()
        programs: dict[str, int] = {}
        for compiled in compile_files(files, flags):
            for hook in self.wanted:
                if hook.c_function in compiled:
                    fd = _load_program(hook, compiled[hook.c_function], types)
                    programs |= {hook.name: fd} if fd is not None else {}
        return programs

    def attach(self) -> None:
        """Make the links that are missing, before anything changes; then replace the programs
        behind the others in place. No instant is without enforcement."""
        missing = {}
        for hook, fd in self.loaded:
            if self.is_linked(hook) or (self.reused and not hook.is_cgroup):
                continue
            try:
                missing[hook.name] = self.link(hook, fd)
            except OSError as err:
                if hook.required:
                    raise
                log.warning("going without %s: %s", hook.name, err)
                del self.programs[hook.name]
        history = BpfMap(self.descriptors["hook_history"], "hook_history")
        for hook, fd in self.loaded:
            with runs_kept(history, self.pin_dir.programs / hook.name):
                if hook.name in missing:
                    if self.was_detached(hook):
                        keep_reattached(history, hook.name)
                    _pin_anew(missing[hook.name], self.pin_dir.links / hook.name)
                elif hook.is_cgroup:
                    self.replace(hook, fd)
                _pin_anew(fd, self.pin_dir.programs / hook.name)
        for hook in HOOKS:
            if hook.name not in self.programs:  # from a load that wanted it
                with runs_kept(history, self.pin_dir.programs / hook.name):
                    (self.pin_dir.links / hook.name).unlink(missing_ok=True)
                    (self.pin_dir.programs / hook.name).unlink(missing_ok=True)

    @property
    def loaded(self) -> list[tuple[Hook, int]]:
        return [(hook, self.programs[hook.name]) for hook in HOOKS if hook.name in self.programs]

    def is_linked(self, hook: Hook) -> bool:
        """Only a cgroup's link can have its program replaced."""
        target = link_target(self.pin_dir, hook)
        return hook.is_cgroup and target == self.cgroup.stat().st_ino

    def was_detached(self, hook: Hook) -> bool:
        """Whether an earlier load attached it, and somebody else has undone that."""
        was_here = (self.pin_dir.programs / hook.name).exists()
        return hook.is_cgroup and was_here and link_target(self.pin_dir, hook) is None

    def replace(self, hook: Hook, fd: int) -> None:
        path = str(self.pin_dir.links / hook.name)
        link = libbpf.object_get(path)
        try:
            libbpf.check(libbpf.library().bpf_link_update(link, fd, None), path)
        finally:
            os.close(link)

    def link(self, hook: Hook, fd: int) -> int:
        what = f"attaching {hook.name}"
        if hook.place is Place.RAW_TRACEPOINT:
            opened = libbpf.library().bpf_raw_tracepoint_open(hook.target.encode(), fd)
            return libbpf.check(opened, what)
        if hook.place is Place.FUNCTION:  # which the program names itself
            return libbpf.check(libbpf.library().bpf_raw_tracepoint_open(None, fd), what)
        if hook.place is Place.TRACEPOINT:
            target = libbpf.perf_event_of_tracepoint(tracepoint_id(hook.target))
        else:
            target = os.open(self.cgroup, os.O_RDONLY | os.O_DIRECTORY)
            what = f"{what} to {self.cgroup}"
        try:
            created = libbpf.library().bpf_link_create(fd, target, hook.attach_type, None)
            return libbpf.check(created, what)
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


def _load_program(hook: Hook, instructions: bytes, types: KernelTypes) -> int | None:
    """Its descriptor; None for an optional hook that this kernel refuses."""
    target = types.function(hook.target) if hook.place is Place.FUNCTION else 0
    attach_type = 0 if hook.place is Place.TRACEPOINT else hook.attach_type
    try:
        if target is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), hook.target)
        return libbpf.load_program(hook.name, instructions, hook.program_type, attach_type, target)
    except OSError as err:
        if hook.required:
            raise KernelError(
                f"the kernel refuses the program of {hook.name}: {err}",
                hint="portwatch doctor tells what this kernel lacks",
            ) from err
        log.warning("going without %s: %s", hook.name, err)
        return None


def _pin_anew(fd: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    libbpf.object_pin(fd, str(path))


def _sow_seeds(fd: int) -> None:
    seeds = (int.from_bytes(os.urandom(8), "little") | 1 for _ in range(layout.SEEDS))
    control = layout.Control(seeds=(ctypes.c_uint64 * layout.SEEDS)(*seeds))
    libbpf.check(libbpf.library().bpf_map_update_elem(fd, bytes(4), bytes(control), 0), "control")


def _name_cgroup(fd: int, cgroup: Path) -> None:
    """Tell the programs that are on no cgroup which sockets are ours. The generation beside it is
    not to be touched: it may be changing."""
    number = cgroup.stat().st_ino
    with mmap.mmap(fd, mmap.PAGESIZE) as memory:
        control = layout.Control.from_buffer(memory)
        control.cgroup = 0 if number == ROOT_CGROUP else number
        del control  # or the map could not be closed


def _make_room_for_the_rest(descriptors: dict[str, int]) -> None:
    """The entries that count what a full map has no room for; see find_violation() and
    find_collision()."""
    violations, collisions = descriptors["violations"], descriptors["collisions"]
    for protocol in range(layout.PROTOCOL_LABELS):
        for verdict in (1, 2):
            key = layout.ViolationKey(protocol=protocol, verdict=verdict)
            _put_new(violations, bytes(key), bytes(layout.Violation()))
        for kind in (layout.PORT_IN_USE, layout.PORT_PUBLISHED):
            where = layout.CollisionKey(protocol=protocol, kind=kind)
            _put_new(collisions, bytes(where), bytes(layout.Collision()))


def _put_new(fd: int, key: bytes, value: bytes) -> None:
    result = libbpf.library().bpf_map_update_elem(fd, key, value, libbpf.UPDATE_NOEXIST)
    if result != -errno.EEXIST:
        libbpf.check(result, "making room for the rest")


def main(arguments: list[str]) -> int:
    """PIN_DIR CGROUP [NO_COLLISIONS], and GO on stdin; exit 0, or 3 with the error as JSON on
    stdout."""
    pin_dir, cgroup = PinDir(Path(arguments[0])), Path(arguments[1])
    try:
        load = _Load(pin_dir, cgroup, collisions=NO_COLLISIONS not in arguments[2:])
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
