"""What the options of `run` say of the web server, checked before anything is loaded."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from portwatch.agent.web.addresses import open_addresses, parse_listen, passed_sockets

if TYPE_CHECKING:
    from portwatch.agent.web.config.following import FollowedConfig


@dataclass(frozen=True)
class WebOptions:
    """`listens` are addresses, `passed` the sockets of systemd in their place."""

    listens: Sequence[str]
    passed: Sequence[socket.socket]
    config: FollowedConfig | None

    @classmethod
    def parse(cls, listens: Sequence[str], systemd: bool, config: Path | None) -> WebOptions:
        """Check them, and read the configuration; UsageError or WebConfigError."""
        for listen in listens:
            parse_listen(listen)
        followed = None
        if config is not None:
            from portwatch.agent.web.config.following import FollowedConfig

            followed = FollowedConfig(config)
        return cls(listens, passed_sockets(os.environ) if systemd else (), followed)

    def open(self) -> Sequence[socket.socket]:
        """The sockets to serve on; UsageError where an address cannot be had."""
        return self.passed or open_addresses(self.listens)
