"""The web configuration as its files are now: read again when one has changed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from portwatch.agent.web.config.file import load_web_config
from portwatch.agent.web.config.settings import WebConfig
from portwatch.errors import PortwatchError, UsageError

log = logging.getLogger(__name__)

Signature = tuple[tuple[int, ...], ...]


class FollowedConfig:
    """`config` is what is in force, and `successful` whether the files are what it was read from;
    what cannot be read now changes nothing but that, and is said once."""

    def __init__(self, path: Path) -> None:
        """Read it for the first time: WebConfigError or UsageError."""
        self._path = path
        self.config = load_web_config(path)
        self._signature = _signature(self.config.files)
        self.successful = True

    @property
    def scheme(self) -> str:
        """`https` or `http`, for as long as the agent runs."""
        return "https" if self.config.tls else "http"

    def current(self) -> WebConfig:
        """The configuration in force, after a look at its files (a few microseconds)."""
        signature = _signature(self.config.files)
        if signature != self._signature:
            self._signature = signature
            self._reload()
        return self.config

    def _reload(self) -> None:
        try:
            config = load_web_config(self._path)
            if bool(config.tls) != bool(self.config.tls):
                raise UsageError("TLS begins or ends only with the agent: restart it")
        except (PortwatchError, OSError) as err:  # OSError: a file that goes while it is read
            self.successful = False
            log.warning("the web configuration in force is kept: %s", err)
            return
        self.config = config
        self.successful = True
        self._signature = _signature(config.files)
        log.info("web configuration read again from %s", self._path)


def _signature(files: tuple[Path, ...]) -> Signature:
    """What changes when a file is replaced or written to."""
    return tuple(_of(file) for file in files)


def _of(file: Path) -> tuple[int, ...]:
    try:
        is_now = os.stat(file)
    except OSError as err:
        return (err.errno or 0,)
    return is_now.st_dev, is_now.st_ino, is_now.st_mtime_ns, is_now.st_ctime_ns, is_now.st_size
