"""An /etc of one process's own, whose accounts a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

COPIED = ("passwd", "group", "nsswitch.conf", "ld.so.cache", "localtime")
# Replaces itself by the command, so that its pid is the command's.
ENTER = 'mount --bind "$0" /etc && exec "$@"'


class OwnEtc:
    """A folder that stands in for /etc, in a mount namespace of the command's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        for name in COPIED:
            if Path("/etc", name).exists():
                shutil.copy(Path("/etc", name), folder / name)

    @property
    def command(self) -> list[str]:
        """What to put before a command that is to see it."""
        return ["unshare", "--mount", "sh", "-c", ENTER, str(self._folder)]

    def path(self, name: str) -> Path:
        """One of its files."""
        return self._folder / name

    def lines(self, name: str) -> list[str]:
        """The lines of one of its files."""
        return self.path(name).read_text().splitlines()

    def replace(self, name: str, lines: list[str]) -> None:
        """Rename a new file over the old, as useradd and its kin do."""
        new = self.path(f"{name}+")
        new.write_text("".join(f"{line}\n" for line in lines))
        new.rename(self.path(name))

    def account(self, kind: str, name: str, number: int | None) -> None:
        """Give `name`, a `user` or a `group`, this number; None removes it."""
        file = {"user": "passwd", "group": "group"}[kind]
        entry = {
            "user": f"{name}:x:{number}:{number}::/:/bin/false",
            "group": f"{name}:x:{number}:",
        }
        kept = [line for line in self.lines(file) if not line.startswith(f"{name}:")]
        self.replace(file, kept if number is None else [*kept, entry[kind]])
