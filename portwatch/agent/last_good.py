"""The last good version of the policy's files, which outlives a reboot: what a bad one falls back
to where no policy is in the kernel yet.
"""

from __future__ import annotations

import logging
from pathlib import Path

from portwatch.agent.policy_source import LoadedPolicy
from portwatch.agent.publisher import now_stored
from portwatch.kernel.pins import name_for
from portwatch.kernel.stored_policy import StoredPolicy
from portwatch.node.root_file import read_root_file, write_root_file

log = logging.getLogger(__name__)

STATE_DIRECTORY = Path("/var/lib/portwatch")
MAX_BYTES = 64 << 20


def remember_policy(pin_dir: Path, loaded: LoadedPolicy) -> None:
    """Keep what its files were; a log line where that may not be written."""
    stored = now_stored(loaded.sources, loaded.origin, loaded.mode)
    try:
        write_root_file(_path(pin_dir), stored.to_json(), directory_mode=0o700)
    except OSError as err:
        log.warning("the policy is not kept for the next boot: %s", err)


def remembered_policy(pin_dir: Path) -> StoredPolicy | None:
    """Return what was kept last; None where nothing was, or it cannot be read."""
    path = _path(pin_dir)
    try:
        found = read_root_file(path, MAX_BYTES)
        return None if found is None else StoredPolicy.from_json(found)
    except (OSError, ValueError) as err:
        log.warning("ignoring %s: %s", path, err)
        return None


def forget_policy(pin_dir: Path) -> None:
    """Remove what is kept: nothing is to be enforced there any more."""
    _path(pin_dir).unlink(missing_ok=True)


def _path(pin_dir: Path) -> Path:
    return STATE_DIRECTORY / f"{name_for(pin_dir, 'policy')}.json"
