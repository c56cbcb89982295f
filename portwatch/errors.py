"""What can go wrong, as one tree.

    PortwatchError                 exit 1
    ├── PolicyError                exit 2   a policy that does not parse or check; has every problem
    │   └── WebConfigError         exit 2   a web configuration, likewise
    ├── UsageError                 exit 2   an option or argument that makes no sense here
    │   └── AlreadyRunning         exit 2   another agent holds this pin directory
    ├── EngineFailed               exit 1   a container engine did not answer, or not as it should
    ├── ApiFailed                  exit 1   the Kubernetes API server, likewise
    └── KernelError                exit 3   the kernel, a privilege or a package is missing
        ├── PrivilegeMissing       exit 3   not root, or a capability is missing
        ├── NotLoaded              exit 3   nothing is pinned where something should be
        │   └── Unloaded           exit 4   what an agent ran on was removed, on purpose
        ├── Detached               exit 3   a hook is gone, and this process may not attach it
        └── PinMismatch            exit 3   pins of another version, or not portwatch's

Each error says what failed and, as `hint`, what to do next. Only the CLI prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_OK = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_KERNEL = 3
EXIT_UNLOADED = 4


class PortwatchError(Exception):
    """The root: `exit_code` is the process's exit status, `hint` the next step or empty."""

    exit_code = EXIT_FINDINGS

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with a policy file; line and column count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class PolicyError(PortwatchError):
    """A policy was refused; `problems` holds every reason, in file order."""

    exit_code = EXIT_USAGE
    what = "the policy"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class WebConfigError(PolicyError):
    """A web configuration was refused, as a policy is: with every reason at its place."""

    what = "the web configuration"


class UsageError(PortwatchError):
    """An option or argument that makes no sense here."""

    exit_code = EXIT_USAGE


class AlreadyRunning(UsageError):
    """Another agent holds this pin directory."""


class EngineFailed(PortwatchError):
    """A container engine did not answer, or not as it should; names are then not known."""


class ApiFailed(PortwatchError):
    """The Kubernetes API server did not answer, or not as it should; what is known then stays.

    `reason` is one of node.kubernetes.follower's RESTARTS.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class KernelError(PortwatchError):
    """The kernel, a privilege or a package is missing."""

    exit_code = EXIT_KERNEL


class PrivilegeMissing(KernelError):
    """Not root, or a capability is missing."""


class NotLoaded(KernelError):
    """Nothing is pinned where something should be."""


class Unloaded(NotLoaded):
    """What the agent ran on was removed on purpose: nobody is to start it again by itself."""

    exit_code = EXIT_UNLOADED


class Detached(KernelError):
    """A hook is not attached any more, and this process may not attach it."""


class PinMismatch(KernelError):
    """The pins are another version's, or not portwatch's at all."""
