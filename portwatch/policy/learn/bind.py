"""A bind that was seen, from wherever it is known: what `learn` makes policies of."""

from __future__ import annotations

from typing import NamedTuple

from portwatch.policy.words.addresses import Address
from portwatch.policy.workload import KnownContainer


class SeenBind(NamedTuple):
    """Binds alike. `port` 0: the kernel picks. `uid` None: not known; `user`: its name, if any.

    `first` and `last`: ISO 8601, empty where not known. `program`: its path or name. `listening`:
    found listening, and `times` does not count it.
    """

    cgroup: str
    protocol: str
    port: int
    address: Address
    container: KnownContainer | None = None
    uid: int | None = None
    user: str | None = None
    times: int = 0
    first: str = ""
    last: str = ""
    program: str = ""
    listening: bool = False
    host_network: bool = True
