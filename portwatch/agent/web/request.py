"""What a client asks for, whatever protocol it came by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is decoded, `query` is not; names of `headers` are in lower case, and of one that
    comes twice the last counts."""

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]

    @classmethod
    def parse(cls, method: bytes, target: bytes, headers: Mapping[bytes, bytes]) -> Request:
        """From a request line; a target in a proxy's form, http://host/path, means its path."""
        written = target.decode("ascii", "replace")
        scheme, _, rest = written.partition("://")
        if scheme.lower() in ("http", "https"):
            written = "/" + rest.partition("/")[2]
        path, _, query = written.partition("?")
        return cls(method.decode("ascii", "replace"), unquote(path), query, headers)

    def header(self, name: bytes) -> str:
        """A header as text, empty where it is not there."""
        return self.headers.get(name, b"").decode("latin-1")
