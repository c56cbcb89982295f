"""Where the agent's policy comes from: files, a directory of them, or what is built in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from portwatch.policy.catalog.use import with_catalog
from portwatch.policy.model import Mode, Policy
from portwatch.policy.source.load import builtin_sources, parse_policy, policy_sources

DEFAULT_POLICY_DIR = Path("/etc/portwatch/policy.d")
BUILTIN_ORIGIN = "builtin"

Source = tuple[str, str | bytes]


@dataclass(frozen=True)
class LoadedPolicy:
    """A checked policy with the texts it came from; the sets of the catalog that it names are
    among them."""

    policy: Policy
    sources: tuple[Source, ...]
    origin: str
    mode: Mode | None

    @classmethod
    def parse(cls, sources: Sequence[Source], origin: str, mode: Mode | None) -> LoadedPolicy:
        """Check the texts, and put them in `mode` where one is given; PolicyError."""
        policy = parse_policy(sources, source=origin)
        kept = with_catalog(sources, policy.catalog)
        return cls(policy.with_mode(mode) if mode else policy, kept, origin, mode)


@dataclass(frozen=True)
class PolicySource:
    """What `--policy` and `--mode` ask for. `path` None: the default directory, else built-in."""

    path: Path | None = None
    mode: Mode | None = None
    default_dir: Path = DEFAULT_POLICY_DIR

    @property
    def watched(self) -> Path:
        """The path to follow, whether it is there or not."""
        return self.path or self.default_dir

    @property
    def resolved(self) -> Path | None:
        """The path that is read; None for the built-in policy."""
        if self.path is not None:
            return self.path
        has_files = self.default_dir.is_dir() and any(self.default_dir.glob("*.yaml"))
        return self.default_dir if has_files else None

    def load(self) -> LoadedPolicy:
        """Read and check: PolicyError with every problem, UsageError where it cannot be read."""
        path = self.resolved
        if path is None:
            return LoadedPolicy.parse(builtin_sources(), BUILTIN_ORIGIN, self.mode)
        origin = os.fsencode(path).decode("utf-8", "backslashreplace")
        return LoadedPolicy.parse(policy_sources(path), origin, self.mode)
