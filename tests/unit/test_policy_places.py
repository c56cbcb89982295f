"""Who a cgroup's path says that its tasks are: containers and pods of every engine and driver."""

from __future__ import annotations

import pytest

from portwatch.policy.words.images import image_names
from portwatch.policy.words.places import Place, place_of
from portwatch.policy.workload import KnownContainer, Selector, Subject

A, B = "a1" * 32, "b2" * 32
UID = "0b1c2d3e-1111-2222-3333-444455556666"
UNDERSCORED = UID.replace("-", "_")
STATIC = "77fa" * 8  # of a static pod: a hash of its manifest
MANAGER = "/user.slice/user-1000.slice/user@1000.service"
CONMON = "libpod-conmon"

CONTAINERS = [
    (f"/system.slice/docker-{A}.scope", "docker"),
    (f"/docker/{A}", "docker"),
    (f"/docker/{A}/nested/more", "docker"),
    (f"/machine.slice/libpod-{A}.scope", "podman"),
    (f"/machine.slice/libpod-{A}.scope/container", "podman"),
    (f"/libpod_parent/libpod-{A}", "podman"),
    (f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope/container", "podman"),
    (f"/libpod_parent/{B}/libpod-{A}", "podman"),  # in a pod
    (f"/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/cri-containerd-{A}.scope", "containerd"),
    (f"/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/crio-{A}.scope/container", "crio"),
    (f"/kubepods/besteffort/pod{UID}/crio-{A}", "crio"),
    (f"/kubepods/burstable/pod{UID}/{A}", None),
    (f"/kubepods-burstable-pod{UNDERSCORED}.slice:cri-containerd:{A}", "containerd"),
    (f"/system.slice/nerdctl-{A}.scope", "containerd"),
    (f"/default/{A}", None),
    (f"/batch.slice/{A}", None),
]
NO_CONTAINERS = [
    "/",
    "/docker",
    f"/libpod_parent/{B}",
    "/system.slice/docker.service",
    f"/machine.slice/{CONMON}-{A}.scope",
    f"/libpod_parent/{CONMON}-{A}",
    f"/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/crio-conmon-{A}.scope",
    f"/system.slice/docker-{A[:63]}.scope",
    f"/system.slice/docker-{A}.service",
    f"/system.slice/docker-{A.upper()}.scope",
    f"/system.slice/mydocker-{A}.scope",
    f"/docker/{A}0",
    f"/docker/{A[:12]}",
]
PODS = [
    (f"/kubepods.slice/kubepods-pod{UNDERSCORED}.slice", UID),
    (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDERSCORED}.slice/x", UID),
    (f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{STATIC}.slice", STATIC),
    (f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UNDERSCORED}.slice", UID),
    (f"/kubepods/pod{UID}", UID),
    (f"/kubepods/burstable/pod{UID}/{A}", UID),
    (f"/kubelet/kubepods/besteffort/pod{STATIC}", STATIC),
    (f"/kubepods-burstable-pod{UNDERSCORED}.slice:cri-containerd:{A}", UID),
]
NO_PODS = [
    f"/elsewhere/pod{UID}",
    f"/kubepods/burstable/pod{UID[:-1]}",
    f"/kubepods.slice/kubepods-pod{UNDERSCORED}x.slice",
    f"/docker/{A}/kubepods/pod{UID}",
    f"/machine.slice/machine-libpod_pod_{A}.slice/libpod-{B}.scope",
]


@pytest.mark.parametrize(("path", "runtime"), CONTAINERS)
def test_a_containers_cgroup_names_it(path: str, runtime: str | None) -> None:
    """Every engine's layout, with both drivers, gives the container's id and the engine."""
    container = place_of(path).container
    assert container is not None
    assert (container.id, container.runtime) == (A, runtime)
    assert not place_of(path).is_claimed


@pytest.mark.parametrize("path", NO_CONTAINERS)
def test_what_only_looks_like_a_container(path: str) -> None:
    """An engine's own processes, its monitors and other names are no container."""
    assert place_of(path).container is None


@pytest.mark.parametrize(("path", "uid"), PODS)
def test_a_pods_cgroup_names_it(path: str, uid: str) -> None:
    """The kubelet's layout gives the pod's uid, with both drivers and for static pods."""
    assert place_of(path).pod == uid
    assert not place_of(path).is_claimed


@pytest.mark.parametrize("path", NO_PODS)
def test_what_only_looks_like_a_pod(path: str) -> None:
    """What others call a pod, or what a container calls one, is none."""
    assert place_of(path).pod is None


@pytest.mark.parametrize(
    "path",
    [
        f"/system.slice/docker-{A}.scope/docker/{B}",
        f"/docker/{A}/docker-{B}.scope",
        f"/docker/{A}/libpod_parent/{B}/libpod-{B}",
        f"/batch/{A}/libpod-{B}",
        f"/docker/{A}/kubelet.slice/kubelet-kubepods-pod{UNDERSCORED}.slice/crio-{B}.scope",
        f"/machine.slice/libpod-{A}.scope/libpod-{B}",
    ],
)
def test_nested_containers_are_the_outermost(path: str) -> None:
    """What a container names within itself is still that container."""
    place = place_of(path)
    assert place.container is not None
    assert place.container.id == A
    assert place.pod is None


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        (f"/system.slice/web.service/libpod-payload-{A}", 0),
        (f"/system.slice/web.service/docker-{A}.scope", 0),
        (f"/system.slice/k3s.service/kubepods/pod{UID}", 0),
        (f"{MANAGER}/user.slice/libpod-{A}.scope/container", 1000),
        (f"{MANAGER}/app.slice/docker-{A}.scope", 1000),
        (f"/user.slice/user-1000.slice/session-3.scope/{A}", 1000),
        ("/user.slice/user-7.slice/user@8.service/kubepods/pod" + UID, 8),
    ],
)
def test_what_a_unit_names_below_itself_is_claimed(path: str, owner: int) -> None:
    """Containers and pods below a unit are that unit's words, and a user's where it is a user's."""
    place = place_of(path)
    assert place.container or place.pod
    assert (place.is_claimed, place.owner_uid) == (True, owner)


DB = KnownContainer("db", ("docker.io/library/postgres:16",))
VERIFIED = KnownContainer("db", ("docker.io/library/postgres:16",), is_verified=True)
POD = f"/kubepods/pod{UID}/{A}"
OWN = f"/system.slice/docker-{A}.scope"
CLAIMED = f"/system.slice/ci.service/docker-{A}.scope"
USERS = f"{MANAGER}/app.slice/docker-{A}.scope"
USER_UNIT = f"{MANAGER}/app.slice/etcd.service/worker"


@pytest.mark.parametrize(
    ("selector", "matching", "others"),
    [
        (Selector(container=("db",)), [(OWN, DB), (CLAIMED, VERIFIED)], [(OWN, None)]),
        (Selector(container=("db",)), [], [(CLAIMED, DB)]),
        (Selector(container=(A,)), [(OWN, None), (CLAIMED, VERIFIED)], [(CLAIMED, None)]),
        (Selector(container=(A[:12],)), [(OWN, None)], [(OWN.replace("a1", "c3"), None)]),
        (Selector(container=(A[:11],)), [], [(OWN, DB)]),
        (Selector(container=("a1*",)), [], [(OWN, DB)]),  # a glob is over names, never over ids
        (Selector(image=("postgres",)), [(OWN, DB)], [(OWN, None), (CLAIMED, DB), (USERS, DB)]),
        (Selector(pod=(UID,)), [(POD, None)], [("/x.service" + POD, None)]),
        (Selector(container=("db",), unit=("ci.*",)), [(CLAIMED, DB)], [(USERS, DB), (OWN, DB)]),
        (Selector(container=("db",), slice=("user-*",)), [(USERS, DB)], [(CLAIMED, DB)]),
        (Selector(container=("db",), slice=("app.slice",)), [], [(USERS, DB)]),
        (Selector(unit=("etcd.service",)), [("/a.slice/etcd.service", None)], [(USER_UNIT, None)]),
        (Selector(unit=("*",)), [(USER_UNIT, None)], [("/ci", None)]),  # user@1000.service
        (Selector(unit=("etcd.*",), user=(0,)), [(USER_UNIT, None)], []),
        (Selector(unit=("etcd.*",), cgroup=("/user.slice",)), [(USER_UNIT, None)], []),
        (Selector(unit=("etcd.*",), slice=("user-*",)), [(USER_UNIT, None)], []),
        (Selector(unit=("etcd.*",), slice=("app.slice",)), [], [(USER_UNIT, None)]),
        (Selector(slice=("app.slice",)), [("/app.slice", None)], [(USER_UNIT, None)]),
        (Selector(slice=("app.slice",), group=(0,)), [(USER_UNIT, None)], []),
    ],
)  # fmt: skip
def test_claims_count_only_beside_their_witness(
    selector: Selector,
    matching: list[tuple[str, KnownContainer | None]],
    others: list[tuple[str, KnownContainer | None]],
) -> None:
    """Names that a user or a unit gives itself are matched only where the selector says whose."""
    for path, container in matching:
        assert selector.matches(Subject(path, container=container)), path
    for path, container in others:
        assert not selector.matches(Subject(path, container=container)), path


@pytest.mark.parametrize(
    ("reference", "named", "not_named"),
    [
        ("nginx", ["nginx", "nginx:latest", "docker.io/library/nginx"], ["nginx:1", "library"]),
        ("nginx:1.25", ["nginx", "nginx:1.25", "docker.io/library/nginx:1.25"], ["nginx:latest"]),
        ("docker.io/library/nginx:1", ["nginx:1", "library/nginx", "docker.io/library/nginx"], []),
        ("team/app:2", ["team/app", "docker.io/team/app:2"], ["app", "library/team/app"]),
        ("localhost/nginx:1", ["localhost/nginx"], ["nginx", "docker.io/localhost/nginx"]),
        ("evil.example/library/nginx", ["evil.example/library/nginx:latest"], ["nginx"]),
        ("r.example:5000/a/b", ["r.example:5000/a/b", "r.example:5000/a/b:latest"], ["r.example"]),
        ("nginx@sha256:ab", ["nginx", "nginx@sha256:ab"], ["nginx:latest"]),
        ("nginx:1@sha256:ab", ["nginx:1", "nginx@sha256:ab", "nginx:1@sha256:ab"], []),
        ("sha256:ab", ["sha256:ab"], ["sha256", "sha256:latest", "docker.io/library/sha256:ab"]),
    ],
)
def test_an_image_goes_by_all_its_names(
    reference: str, named: list[str], not_named: list[str]
) -> None:
    """A selector may leave out what is the default, and never means another registry's image."""
    names = image_names(reference)
    assert set(named) <= set(names)
    assert not set(not_named) & set(names)


def test_garbage_is_nowhere() -> None:
    """Paths that nobody made say nothing."""
    for path in ("", "/", "//", "/\udcff", "/user@.service", "/" + "x/" * 500):
        place = place_of(path)
        assert place == Place()


@pytest.mark.parametrize(
    ("path", "holds"),
    [
        ("/kubepods.slice", True),
        ("/kubepods.slice/kubepods-burstable.slice", True),
        ("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice", True),
        ("/kubelet/kubepods/besteffort", True),
        ("/kubepods", True),
        ("/besteffort", False),
        (f"/kubepods/burstable/pod{UID}", False),
        (f"/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/cri-containerd-{A}.scope", False),
        ("/kubepods.slice/other.slice", False),
        ("/", False),
    ],
)
def test_where_pods_begin(path: str, holds: bool) -> None:
    """A cgroup in which the kubelet makes pods is known as such, and none that is a pod's."""
    assert place_of(path).holds_pods is holds
