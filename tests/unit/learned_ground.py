"""Binds on the machine of policy_strategies, and whom a policy takes them to be by."""

from __future__ import annotations

from hypothesis import strategies as st
from policy_strategies import ACCOUNTS, CGROUPS, CONTAINERS, NAMELESS_ID

from portwatch.policy.decide import Endpoint, decide
from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.learn.merge import NOBODY
from portwatch.policy.model import Policy
from portwatch.policy.words.account_names import AccountNames
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.words.places import place_of
from portwatch.policy.workload import KnownContainer, Subject

NAMES = AccountNames(ACCOUNTS)
LOOPBACK = Address.parse("127.0.0.1")
ANYWHERE = Address.parse("0.0.0.0")
WHERE = (
    *(LOOPBACK, ANYWHERE, DUAL, Address.parse("::1"), Address.parse("::"), Address(1 << 100)),
    *map(Address.parse, ("10.1.2.3", "8.8.8.8", "169.254.1.1", "224.0.0.251", "fd00::1")),
)
FAMILIES = (
    *(f"/system.slice/system-worker.slice/worker@{n}.service" for n in (1, 2, "x")),
    *(f"/system.slice/docker-{n * 64}.scope" for n in "abc"),
    *("/ci/job-1", "/ci/job-2", "/user.slice/user-1000.slice/session-7.scope"),
)
KNOWN = (*CONTAINERS, *(KnownContainer(f"web-{n}", ("nginx",)) for n in (1, 2, 3)))


def seen(cgroup: str, port: int, address: Address = ANYWHERE, **more: object) -> SeenBind:
    """A bind of TCP by root, unless it is said otherwise."""
    given = {"protocol": "tcp", "uid": 0, "user": "root", "times": 1} | more
    return SeenBind(cgroup=cgroup, port=port, address=address, **given)  # type: ignore[arg-type]


def subject_of(bind: SeenBind) -> Subject:
    """Who makes such a bind; of what is seen the group is not known."""
    uid = NOBODY if bind.uid is None else bind.uid
    return NAMES.subject(bind.cgroup, uid, NOBODY, bind.host_network, bind.container)


def verdict(policy: Policy, bind: SeenBind, like: SeenBind | None = None) -> str:
    """Of this bind, or of one like another's by the same task."""
    what = like or bind
    endpoint = Endpoint(what.protocol, what.port, what.address)
    return decide(policy, subject_of(bind), endpoint).verdict


CONTAINERS_BY_PATH = {
    path: KNOWN[number % len(KNOWN)]
    for number, path in enumerate((*CGROUPS, *FAMILIES))
    if place_of(path).container is not None
}
"""One each: an engine has one word for a container."""


@st.composite
def seen_binds(draw: st.DrawFn) -> SeenBind:
    """One bind by anybody there is, near the others' ports."""
    cgroup = draw(st.sampled_from((*CGROUPS, *FAMILIES)))
    uid = draw(st.sampled_from((0, 1000, NAMELESS_ID)))
    return SeenBind(
        cgroup=cgroup,
        protocol=draw(st.sampled_from(("tcp", "tcp", "udp", "sctp", "udplite"))),
        port=draw(st.sampled_from((0, 80, 443, 2379)) | st.integers(8000, 8012)),
        address=draw(st.sampled_from(WHERE)),
        container=CONTAINERS_BY_PATH.get(cgroup),
        uid=uid,
        user=NAMES.user(uid),
        times=draw(st.integers(0, 5)),
        program=draw(st.sampled_from(("", "/usr/sbin/nginx", "a\nb: [c] # d", "\u2028\ud800"))),
    )
