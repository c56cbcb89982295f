"""What a policy may say of a port, and what then has to happen to each kind of way."""

from __future__ import annotations

from dataclasses import dataclass

from ways import PORT, Kind


@dataclass(frozen=True)
class Outcome:
    """The verdict, and the port that its violation is told under."""

    verdict: str
    port: int = PORT

    @property
    def said(self) -> str:
        """What the refused call answers: the policies' errno is none that the kernel gives."""
        return "EPERM" if self.verdict == "denied" else "ok"


ALLOWED, RECORDED, DENIED = Outcome("allowed"), Outcome("recorded"), Outcome("denied")
RECORDED_AS_0, DENIED_AS_0 = Outcome("recorded", 0), Outcome("denied", 0)

HEAD = "version: 1\nmode: enforce\nerrno: EPERM\n"


def one(constraint: str) -> str:
    """An enforced policy of one constraint, called `rule`."""
    return f"{HEAD}constraints:\n  - {{name: rule, {constraint}}}\n"


POLICIES: dict[str, str] = {
    "no rule": one("deny: [9]"),
    "denied": one(f"deny: [{PORT}]"),
    "denied, recording": one(f"mode: record, deny: [{PORT}]"),
    "in an allow list": one(f"allow: [{PORT}]"),
    "in no allow list": one(f"allow: [{PORT + 1}]"),
    "default: deny": f"{HEAD}default: deny\n",
    "ephemeral denied": one("deny: [ephemeral]"),
    "ephemeral denied, recording": one("mode: record, deny: [ephemeral]"),
    "ephemeral allowed": one("allow: [ephemeral]"),
    "denied at its address": one(f'addresses: ["ADDRESS"], deny: [{PORT}]'),
    "denied at another address": one(f"addresses: [198.51.100.0/24], deny: [{PORT}]"),
    "denied in its protocol": one(f"deny: [{PORT}/PROTOCOL]"),
    "denied in another protocol": one(f"deny: [{PORT}/sctp]"),
}
"""ADDRESS and PROTOCOL stand for those of the way's socket."""

_A, _R, _D = ALLOWED, RECORDED, DENIED

OUTCOMES: dict[str, tuple[Outcome, Outcome, Outcome, Outcome, Outcome, Outcome]] = {
    # asked, picked, picked + listens, listens unbound, picked by listen(), picked by connect()
    "no rule": (_A, _A, _A, _A, _A, _A),
    "denied": (_D, _D, _D, _R, _R, _A),
    "denied, recording": (_R, _R, _R, _R, _R, _A),
    "in an allow list": (_A, _A, _A, _A, _A, _A),
    "in no allow list": (_D, _A, _R, _R, _R, _A),
    "default: deny": (_D, _A, _R, _R, _R, _A),
    "ephemeral denied": (_A, DENIED_AS_0, DENIED_AS_0, _R, DENIED_AS_0, DENIED_AS_0),
    "ephemeral denied, recording": (
        _A, RECORDED_AS_0, RECORDED_AS_0, _R, RECORDED_AS_0, RECORDED_AS_0,
    ),
    "ephemeral allowed": (_D, _A, _A, _A, _A, _A),
    "denied at its address": (_D, _D, _D, _R, _R, _A),
    "denied at another address": (_A, _A, _A, _A, _A, _A),
    "denied in its protocol": (_D, _D, _D, _R, _R, _A),
    "denied in another protocol": (_A, _A, _A, _A, _A, _A),
}  # fmt: skip

_COLUMNS = (
    Kind.ASKED,
    Kind.PICKED,
    Kind.PICKED_LISTENS,
    Kind.UNBOUND_LISTENS,
    Kind.LATE_LISTENS,
    Kind.LATE_CONNECTS,
)


def outcome_of(policy: str, kind: Kind) -> Outcome | None:
    """What has to happen; None where nothing is seen."""
    return None if kind == Kind.UNSEEN else OUTCOMES[policy][_COLUMNS.index(kind)]
