"""From binds that were seen to the tightest policy that allows them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learned_ground import ANYWHERE, LOOPBACK, seen, seen_binds, verdict

from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.learn.constraints import learn
from portwatch.policy.learn.ports import LearnedRange, coalesce
from portwatch.policy.learn.text import policy_text, scalar
from portwatch.policy.learn.workload import workload_of
from portwatch.policy.model import Policy
from portwatch.policy.source.load import parse_policy
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.workload import KnownContainer

POD = "0b1c2d3e-1111-2222-3333-444455556666"
ID = "3f2a" * 16
USER_UNIT = "/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service"


def policy_of(binds: list[SeenBind], slack: int = 1) -> Policy:
    """What was learned of these, enforced."""
    text = policy_text(learn(binds, slack), slack)
    policy = parse_policy([("learned.yaml", text)])
    assert policy.mode == "record"
    return policy.with_mode("enforce")


def allow_lists(binds: list[SeenBind], slack: int = 1) -> dict[str, list[str]]:
    """Constraint → the words of its `allow`."""
    constraints = policy_of(binds, slack).constraints
    return {one.name: [entry.word for entry in one.allow.entries] for one in constraints}


def selector(
    cgroup: str, container: KnownContainer | None = None, uid: int | None = 0
) -> dict[str, object]:
    """By what a workload is called."""
    found = workload_of(cgroup, container, uid, {0: "root", 1000: "alice"}.get(uid))
    assert found is not None
    return dict(found.keys)


@settings(max_examples=300)
@given(st.lists(seen_binds(), min_size=1, max_size=12), st.integers(1, 4))
def test_everything_seen_is_allowed(binds: list[SeenBind], slack: int) -> None:
    """Whatever was seen, by whomever: the policy is valid and lets it pass when enforced."""
    policy = policy_of(binds, slack)
    assert {bind: verdict(policy, bind) for bind in binds} == dict.fromkeys(binds, "allowed")


@settings(max_examples=300)
@given(st.lists(seen_binds(), min_size=1, max_size=12))
def test_nobody_gets_what_only_others_were_seen_to_bind(binds: list[SeenBind]) -> None:
    """No glob, and no order of constraints, allows a workload a port that it was not seen on."""
    policy = policy_of(binds)
    own = {(who(bind), bind.protocol, bind.port) for bind in binds}
    for bind in binds:
        for other in binds:
            asked = other.port and verdict(policy, bind, other) == "allowed"
            assert not asked or (who(bind), other.protocol, other.port) in own


@settings(max_examples=300)
@given(st.lists(seen_binds(), min_size=1, max_size=12), st.sampled_from((81, 7999, 8013, 65535)))
def test_what_nobody_was_seen_on_is_denied(binds: list[SeenBind], port: int) -> None:
    """For each workload that was seen, on whichever address."""
    policy = policy_of(binds)
    assert {verdict(policy, bind, bind._replace(port=port)) for bind in binds} == {"denied"}


@settings(max_examples=100)
@given(st.lists(seen_binds(), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_seeing_does_not_matter(binds: list[SeenBind], dice: object) -> None:
    """The same binds make the same text, byte for byte."""
    text = policy_text(learn(binds), 2)
    shuffled = list(binds)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert policy_text(learn(shuffled), 2) == text


def who(bind: SeenBind) -> object:
    """The workload of a bind."""
    return workload_of(bind.cgroup, bind.container, bind.uid, bind.user)


def test_loopback_is_kept_to_loopback() -> None:
    """A port that was bound on loopback alone is denied elsewhere, beside one that was not."""
    shop = "/system.slice/shop.service"
    binds = [seen(shop, 9100, LOOPBACK), seen(shop, 9100, Address.parse("::1")), seen(shop, 80)]
    policy = policy_of(binds)
    assert [one.name for one in policy.constraints] == ["shop-loopback", "shop"]
    assert verdict(policy, seen(shop, 9100, ANYWHERE)) == "denied"
    assert verdict(policy, seen(shop, 80, LOOPBACK)) == "denied"


def test_a_port_on_both_is_allowed_on_both() -> None:
    """And where there are more combinations than addresses, each address has its list."""
    shop = "/system.slice/shop.service"
    on = {53: (LOOPBACK, ANYWHERE), 80: (ANYWHERE,), 9100: (LOOPBACK,)}
    binds = [seen(shop, port, address) for port, where in on.items() for address in where]
    assert allow_lists(binds) == {
        "shop-loopback": ["53/tcp", "9100/tcp"],
        "shop": ["53/tcp", "80/tcp"],
    }
    assert allow_lists(binds[:2]) == {"shop": ["53/tcp"]}


def test_picked_ports_are_ephemeral() -> None:
    """A bind to port 0 is no number, and no neighbour of port 1."""
    shop = "/system.slice/shop.service"
    assert allow_lists([seen(shop, 0), seen(shop, 1)], 4) == {"shop": ["ephemeral/tcp", "1/tcp"]}


def test_slack_joins_ports() -> None:
    """Ports at most that far apart become a range, which says how many were not seen."""
    shop = "/system.slice/shop.service"
    binds = [seen(shop, port) for port in (21001, 21003, 21004, 21007)]
    assert allow_lists(binds, 1) == {"shop": ["21001/tcp", "21003-21004/tcp", "21007/tcp"]}
    assert allow_lists(binds, 2) == {"shop": ["21001-21004/tcp", "21007/tcp"]}
    text = policy_text(learn(binds, 3), 3)
    assert "- 21001-21007/tcp # 4 binds as root; 3 ports of these not seen" in text
    assert "took in 3 ports that nobody was seen on" in text


def test_slack_takes_no_port_of_anothers() -> None:
    """Neither one that another workload was seen on, nor one that the catalog knows."""
    shop, other = "/system.slice/shop.service", "/system.slice/other.service"
    binds = [
        seen(shop, 21001),
        seen(shop, 21003),
        seen(other, 21002),
        seen(shop, 2378),
        seen(shop, 2381),
    ]
    assert allow_lists(binds, 4)["shop"] == ["2378/tcp", "2381/tcp", "21001/tcp", "21003/tcp"]


@pytest.mark.parametrize(
    ("ports", "slack", "ranges"),
    [
        ([], 4, []),
        ([5], 4, [(5, 5, 0)]),
        ([5, 6, 7], 1, [(5, 7, 0)]),
        ([0, 1, 2], 9, [(0, 0, 0), (1, 2, 0)]),
        ([1, 65535], 65535, [(1, 65535, 65533)]),
    ],
)
def test_coalescing(ports: list[int], slack: int, ranges: list[tuple[int, int, int]]) -> None:
    """Every port is in one range, and only the slack adds some."""
    assert coalesce(ports, slack, lambda _port: True) == [LearnedRange(*one) for one in ranges]


def test_instances_and_replicas_become_one() -> None:
    """Templates by their instance, containers and cgroups by their number; a third one that starts
    later is one of them."""
    made = [
        *(f"/system.slice/system-worker.slice/worker@{name}.service" for name in ("1", "blue")),
        *(f"/ci/job-{number}" for number in (7, 8)),
    ]
    binds = [seen(cgroup, 8000) for cgroup in made]
    policy = policy_of(binds)
    assert [one.name for one in policy.constraints] == ["worker", "ci-job"]
    third = seen("/system.slice/system-worker.slice/worker@3.service", 8000)
    assert [verdict(policy, third), verdict(policy, third._replace(port=1))] == [
        "allowed",
        "denied",
    ]


def test_replicas_of_containers() -> None:
    """`web-1` and `web-2` are `web-*`."""
    binds = [
        seen(f"/system.slice/docker-{n * 64}.scope", 80, container=KnownContainer(f"web-{n}"))
        for n in "12"
    ]
    (constraint,) = policy_of(binds).constraints
    assert constraint.subject_for is not None
    assert constraint.subject_for[0].container == ("web-*",)


def test_those_that_bind_otherwise_stay_apart() -> None:
    """One instance with another port, or address, and nothing is made of the family."""
    cgroups = [f"/system.slice/system-worker.slice/worker@{n}.service" for n in (1, 2, 3)]
    odd_port = [*(seen(cgroup, 8000) for cgroup in cgroups), seen(cgroups[2], 8001)]
    assert list(allow_lists(odd_port)) == ["worker-1", "worker-2", "worker-3"]
    odd_address = [seen(cgroups[0], 8000), seen(cgroups[1], 8000, LOOPBACK)]
    assert list(allow_lists(odd_address)) == ["worker-1", "worker-2"]
    assert list(allow_lists([seen(cgroups[0], 8000)])) == ["worker-1"]


def test_a_glob_that_would_mean_another_is_not_made() -> None:
    """Where `web-*` would mean `web-admin`, which binds otherwise, it is not written."""
    binds = [
        seen(f"/system.slice/docker-{n * 64}.scope", port, container=KnownContainer(name))
        for n, name, port in (("1", "web-1", 80), ("2", "web-2", 80), ("3", "web-admin", 9000))
    ]
    assert list(allow_lists(binds)) == ["web-1", "web-2", "web-admin"]


@pytest.mark.parametrize(
    ("cgroup", "container", "uid", "keys"),
    [
        ("/system.slice/a.service/x", None, 0, {"unit": "a.service"}),
        (USER_UNIT, None, 1000, {"unit": "shop.service", "user": "alice"}),
        (USER_UNIT, None, 0, {"unit": "shop.service", "user": "root"}),
        (USER_UNIT, None, None, {"unit": "shop.service", "slice": "user-1000.slice"}),
        (
            "/user.slice/user-1000.slice/session-31.scope",
            *(None, 1000, {"unit": "session-*.scope", "user": "alice"}),
        ),
        (f"/system.slice/docker-{ID}.scope", KnownContainer("db", ("pg",)), 0, {"container": "db"}),
        (f"/system.slice/docker-{ID}.scope", KnownContainer(None, ("pg",)), 0, {"image": "pg"}),
        (f"/system.slice/docker-{ID}.scope", None, 0, {"container": ID[:12]}),
        (f"/kubepods/burstable/pod{POD}/{ID}", None, 0, {"pod": POD}),
        (
            f"/system.slice/a.service/libpod-payload-{ID}",
            *(KnownContainer("db"), 0, {"container": "db", "unit": "a.service"}),
        ),
        (
            f"/system.slice/a.service/libpod-payload-{ID}",
            *(KnownContainer("db", is_verified=True), 0, {"container": "db"}),
        ),
        ("/ci/a", None, 7, {"cgroup": "/ci/a"}),
        ("/ci/a[1]*", None, 7, {"cgroup": "/ci/a[[]1][*]"}),
        ("/ci/\udcff\n", None, 7, {"cgroup": "/ci/??"}),
    ],
)
def test_who_it_was(
    cgroup: str, container: KnownContainer | None, uid: int | None, keys: dict[str, object]
) -> None:
    """The narrowest name that lasts, and beside one that is only claimed what makes it count."""
    assert selector(cgroup, container, uid) == keys
    bind = seen(cgroup, 80, container=container, uid=uid, user={0: "root", 1000: "alice"}.get(uid))
    assert verdict(policy_of([bind]), bind) == "allowed"


def test_processes_beside_the_units_do_not_stand_for_them() -> None:
    """What runs in a slice itself, or in the root, is no constraint for the units below it."""
    policy = policy_of([seen("/", 22), seen("/system.slice", 23)])
    assert [verdict(policy, seen(path, 24)) for path in ("/", "/system.slice")] == ["denied"] * 2
    assert verdict(policy, seen("/system.slice/other.service", 24)) == "allowed"


def test_a_comment_says_what_was_seen() -> None:
    """How often, by which programs and users, from when to when, and that it listens."""
    first = seen("/system.slice/a.service", 80, times=3, first="2026-01-02T03:04:05.5Z")
    first = first._replace(last="2026-01-02T04:00:00.1Z", program="/usr/sbin/a")
    now = first._replace(times=0, listening=True, program="/opt/b", first="", last="", user="www")
    text = policy_text(learn([first, now]), 2)
    assert (
        "- 80/tcp # 3 binds and listens now by /opt/b, /usr/sbin/a as root, www, "
        "2026-01-02 03:04:05 to 2026-01-02 04:00:00" in text
    )
    assert text.startswith("# yaml-language-server: $schema=")
    assert "mode: record # " in text


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
def test_scalars_are_read_back(text: str) -> None:
    """Whatever a name is made of, the language reads it as that very text."""
    text = text.replace("\ufeff", "?").replace("\ufffe", "?").replace("\uffff", "?")
    document = f"version: 1\nreason: {scalar(text)}\n"
    assert parse_policy([("x.yaml", document)]).reason == text


def test_ten_programs_are_three_and_seven_more() -> None:
    """A comment stays readable, however many there were."""
    binds = [seen("/system.slice/a.service", 80, program=f"/bin/{n}") for n in range(10)]
    assert "by /bin/0, /bin/1, /bin/2 and 7 more" in policy_text(learn(binds), 2)


def test_binds_of_both_families_are_one_entry() -> None:
    """`::` with and without IPV6_V6ONLY, and 0.0.0.0, are the wildcard."""
    a = "/system.slice/a.service"
    binds = [seen(a, 80, DUAL), seen(a, 80, ANYWHERE), seen(a, 80, Address.parse("::"))]
    policy = policy_of(binds)
    assert [one.name for one in policy.constraints] == ["a"]
    assert {verdict(policy, bind) for bind in binds} == {"allowed"}
