"""The two slots of tables and the word that swaps them, written through mmap.

Order of a swap: wait out the readers of the idle slot, fill it, publish its generation, wait
out the readers of the old one. Whoever swaps holds PinDir.changing().
"""

from __future__ import annotations

import ctypes
import mmap

from portwatch.errors import PortwatchError
from portwatch.kernel import layout
from portwatch.kernel.pins import PinDir

TABLES_BYTES = ctypes.sizeof(layout.Tables)


class Slots:
    """Both slots and the control word of one pin directory."""

    def __init__(self, pin_dir: PinDir) -> None:
        self._control_map = pin_dir.open_map("control")
        self._tables_map = pin_dir.open_map("tables")
        self._grace = pin_dir.open_map("grace")
        self._inner = pin_dir.open_map("meta")
        memory = mmap.mmap(self._control_map.fd, mmap.PAGESIZE)
        self._control = layout.Control.from_buffer(memory)

    def close(self) -> None:
        """Give the maps back."""
        for opened in (self._control_map, self._tables_map, self._grace, self._inner):
            opened.close()

    @property
    def generation(self) -> int:
        """The live policy's generation; 0 before the first."""
        return int(self._control.generation)

    def is_pinned(self, pin_dir: PinDir) -> bool:
        """Whether these are the maps that are pinned there now: not so after an unload."""
        try:
            pinned = pin_dir.open_map("control")
        except PortwatchError:
            return False
        pinned.close()
        return pinned.id == self._control_map.id

    def next_generation(self) -> int:
        """The one to publish next, in the other slot; 0 is left out when the number wraps."""
        following = (self.generation + 1) & 0xFFFFFFFF
        return following or 2

    def slot(self, generation: int) -> layout.Tables:
        """The tables of that generation's slot, mapped writable; unmapped when dropped, and
        worth dropping soon, since mapped pages count as this process's memory."""
        offset = (generation & 1) * TABLES_BYTES
        start = offset // mmap.PAGESIZE * mmap.PAGESIZE
        memory = mmap.mmap(self._tables_map.fd, offset - start + TABLES_BYTES, offset=start)
        return layout.Tables.from_buffer(memory, offset - start)

    def publish(self, generation: int, control_flags: int) -> None:
        """Make the filled slot the live one: one aligned store, after which nobody new reads
        the old."""
        self.add_flags(control_flags)
        self._control.generation = generation

    def add_flags(self, control_flags: int) -> None:
        """Flags are only ever added: sockets carry marks that were left under them."""
        if control_flags & ~self._control.flags:
            self._control.flags |= control_flags

    def log_binds(self, wanted: bool) -> None:
        """Whether binds that are let through become events too."""
        self._control.log_binds = int(wanted)

    def watch_published(self, wanted: bool) -> None:
        """Whether binds are held against the map of published ports."""
        self._control.published = int(wanted)

    def wait_for_readers(self) -> None:
        """Return when every program that was running has ended.

        Updating a map of maps does synchronize_rcu() (maybe_wait_bpf_programs() in
        kernel/bpf/syscall.c). membarrier(GLOBAL) would not do on one CPU, where it returns at
        once though a reader may be preempted, nor with nohz_full, where it is refused.
        """
        self._grace.put(bytes(4), self._inner.fd.to_bytes(4, "little"))
