"""What a web configuration asks for, whoever has read it; costs nothing where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from portwatch.agent.web.answer import Headers

if TYPE_CHECKING:
    from ssl import SSLContext


@dataclass(frozen=True, slots=True)
class WebConfig:
    """`users` is name → bcrypt hash, `files` all that it was read from."""

    tls: SSLContext | None = None
    allowed_sans: frozenset[str] = frozenset()
    headers: Headers = ()
    users: Mapping[str, bytes] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
