"""The published policy's text in the kernel, so that `explain` and the next agent can read it.

Compressed JSON in chunks of 4 KiB under (generation, index).
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict, dataclass
from typing import Literal

from portwatch.errors import KernelError
from portwatch.kernel.bpfmap import BpfMap
from portwatch.kernel.maps import POLICY_CHUNK_BYTES

LENGTH = struct.Struct("=I")
KEY = struct.Struct("=II")
MAX_CHUNKS = 4096
MAX_BYTES = MAX_CHUNKS * POLICY_CHUNK_BYTES


@dataclass(frozen=True)
class StoredPolicy:
    """What was published: file names with their text, the path given, `--mode`, and when."""

    sources: tuple[tuple[str, str], ...]
    origin: str
    mode: Literal["enforce", "record"] | None
    published_at: float  # seconds since the epoch

    def write(self, policy_map: BpfMap, generation: int) -> None:
        """Store under `generation`; KernelError where the text is too large."""
        packed = zlib.compress(self.to_json().encode(), level=1)
        data = LENGTH.pack(len(packed)) + packed
        if len(data) > MAX_BYTES:
            raise KernelError(f"the policy's text does not fit: {len(data)} of {MAX_BYTES} bytes")
        for index, start in enumerate(range(0, len(data), POLICY_CHUNK_BYTES)):
            chunk = data[start : start + POLICY_CHUNK_BYTES].ljust(POLICY_CHUNK_BYTES, b"\0")
            policy_map.put(KEY.pack(generation, index), chunk)

    @classmethod
    def read(cls, policy_map: BpfMap, generation: int) -> StoredPolicy | None:
        """What was stored under `generation`; None where nothing was, or it is broken."""
        data = b""
        wanted = 1
        index = 0
        while index * POLICY_CHUNK_BYTES < wanted:
            chunk = policy_map.get(KEY.pack(generation, index))
            if chunk is None or index >= MAX_CHUNKS:
                return None
            if index == 0:
                wanted = LENGTH.size + LENGTH.unpack_from(chunk)[0]
            data += chunk
            index += 1
        try:
            return cls.from_json(zlib.decompress(data[LENGTH.size : wanted]))
        except (zlib.error, ValueError):
            return None

    def to_json(self) -> str:
        """For from_json()."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> StoredPolicy:
        """ValueError where it is broken."""
        try:
            fields = json.loads(text)
            sources = tuple((str(name), str(text)) for name, text in fields["sources"])
            return cls(sources, fields["origin"], fields["mode"], fields["published_at"])
        except (KeyError, TypeError) as err:
            raise ValueError("it is no stored policy") from err
