"""Reading a ring buffer: records as bytes, in order, so many at a time that memory stays bounded.

libbpf keeps the consumer's position in the map itself: the next reader goes on where this ends.
"""

from __future__ import annotations

import ctypes
import logging

from portwatch.kernel import libbpf
from portwatch.kernel.bpfmap import BpfMap

log = logging.getLogger(__name__)

RECORDS_AT_ONCE = 1024
SAMPLE_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
STOP = -1


class RingReader:
    """One reader of one ring buffer; records of another length than `record_bytes` are refused."""

    def __init__(self, ring: BpfMap, record_bytes: int) -> None:
        self._ring = ring
        self._record_bytes = record_bytes
        self._records: list[bytes] = []
        self._callback = SAMPLE_CALLBACK(self._take)
        self._reader = libbpf.library().ring_buffer__new(ring.fd, self._callback, None, None)
        if not self._reader:
            libbpf.check(-1, ring.name)

    def fileno(self) -> int:
        """Readable when there are records: for select() and its kin."""
        return int(libbpf.library().ring_buffer__epoll_fd(self._reader))

    def read(self) -> list[bytes]:
        """The next records, at most RECORDS_AT_ONCE; empty where there are none."""
        libbpf.library().ring_buffer__consume(self._reader)
        taken, self._records = self._records, []
        return taken

    def close(self) -> None:
        """Stop reading; records that were not read stay for the next reader."""
        if self._reader:
            libbpf.library().ring_buffer__free(self._reader)
            self._reader = None
            self._ring.close()

    def _take(self, _context: int, data: int, size: int) -> int:
        if size == self._record_bytes:
            self._records.append(ctypes.string_at(data, size))
        else:
            log.error("a record of %d bytes in %s: ignoring it", size, self._ring.name)
        return STOP if len(self._records) >= RECORDS_AT_ONCE else 0
