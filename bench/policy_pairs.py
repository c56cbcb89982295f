"""Pairs of policies of a thousand constraints each, for what comparing them costs."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

CONSTRAINTS = 1000

_KINDS: tuple[Callable[[int], str], ...] = (
    lambda n: f"{{unit: 'svc-{n}-*.service'}}",
    lambda n: f"{{unit: svc-{n}.service}}",
    lambda n: f"{{slice: team-{n}.slice}}",
    lambda n: f"{{slice: 'group-{n}*.slice', user: u{n}}}",
    lambda n: f"{{container: 'box-{n}'}}",
    lambda n: f"{{image: 'registry.example/app-{n}:*'}}",
    lambda n: f"{{cgroup: '/ci/{n}/**'}}",
    lambda n: f"{{cgroup: '/batch/*/job-{n}'}}",
    lambda n: f"{{user: 'user-{n}*'}}",
    lambda n: f"{{group: group-{n}}}",
    lambda n: f"{{user: {20_000 + n}, group: {20_000 + n}}}",
    lambda n: f"[{{unit: 'a-{n}.service'}}, {{user: b{n}}}]",
    lambda n: f"{{pod: {n:08x}-0000-4000-8000-000000000000}}",
)
_ADDRESSES = ("loopback", "private", "10.{}.0.0/16", "2001:db8:{}::/48")


def pair_of(kind: str) -> tuple[str, str]:
    """Return two policies as YAML, of one of KINDS."""
    return KINDS[kind]()


def _policy(constraints: list[str], head: str = "") -> str:
    lines = "".join(f"  - {{{constraint}}}\n" for constraint in constraints)
    return f"version: 1\nmode: enforce\n{head}constraints:\n{lines}"


def _units(moved: int = 0, ports: int = 9) -> list[str]:
    return [
        f"name: c{n}, for: {{unit: svc-{n}.service}}, "
        f"allow: [{1024 + 19 * n + moved}-{1024 + 19 * n + ports + moved}]"
        for n in range(CONSTRAINTS)
    ]


def _mixed(seed: int, moved: Callable[[int], int] = lambda n: 0) -> list[str]:
    """Constraints of all kinds of selectors, some of all with exceptions and addresses."""
    dice = random.Random(seed)
    found = []
    for n in range(CONSTRAINTS):
        first = 1024 + 60 * n + moved(n)
        text = f"name: c{n}, "
        shape = dice.random()
        if shape < 0.04:
            text += f"except: {_KINDS[n % len(_KINDS)](n)}, deny: [{first}]"
        else:
            text += f"for: {_KINDS[n % len(_KINDS)](n)}, "
            text += f"deny: [{first}]" if shape < 0.2 else f"allow: [{first}-{first + 9}]"
        if shape > 0.9:
            text += f", addresses: [{dice.choice(_ADDRESSES).format(n % 250)}]"
        if 0.2 < shape < 0.25:
            text += ", otherwise: continue"
        if 0.25 < shape < 0.3:
            text += f", except: {_KINDS[(n + 5) % len(_KINDS)](n)}"
        if 0.3 < shape < 0.33:
            text += ", network: host"
        if 0.33 < shape < 0.36:
            text += ", mode: record"
        found.append(text)
    return found


def _one_removed() -> tuple[str, str]:
    whole = _units()
    return _policy(whole), _policy(whole[:500] + whole[501:])


def _ordinary() -> tuple[str, str]:
    new = _mixed(1, moved=lambda n: 2 if n % 100 == 0 else 0)
    del new[333]
    new.insert(50, "name: new, for: {unit: fresh.service}, allow: [80, 443]")
    return _policy(_mixed(1)), _policy(new)


def _every_port() -> tuple[str, str]:
    return _policy(_units()), _policy(_units(moved=3))


def _mixed_moved() -> tuple[str, str]:
    return _policy(_mixed(1)), _policy(_mixed(1, moved=lambda n: 3))


def _reordered() -> tuple[str, str]:
    new = _mixed(1)
    random.Random(2).shuffle(new)
    return _policy(_mixed(1)), _policy(new)


def _different() -> tuple[str, str]:
    strange = [text.replace("name: c", "name: d") for text in _mixed(7)]
    return _policy(_mixed(1)), _policy(
        [text.replace("-", "-z", 1) if "svc-" in text else text for text in strange],
        head="default: deny\n",
    )


def _denies() -> tuple[str, str]:
    """Ports that one workload each owns: all others are refused them."""
    old = [
        f"name: c{n}, except: {_KINDS[n % len(_KINDS)](n)}, deny: [{2000 + 20 * n}]"
        for n in range(CONSTRAINTS)
    ]
    new = [text.replace("deny: [", "deny: [9, ") if n % 2 else text for n, text in enumerate(old)]
    return _policy(old), _policy(new[::-1])


def _default() -> tuple[str, str]:
    return _policy(_mixed(1)), _policy(_mixed(1), head="default: deny\n")


def _nothing() -> tuple[str, str]:
    return _policy(_mixed(1)), _policy([])[:-1] + " []\n"


KINDS: Mapping[str, Callable[[], tuple[str, str]]] = MappingProxyType(
    {
        "one constraint removed": _one_removed,
        "ordinary edits": _ordinary,
        "every port changed": _every_port,
        "all kinds of selectors, every port changed": _mixed_moved,
        "all kinds of selectors, reordered": _reordered,
        "nothing in common": _different,
        "owned ports, reversed": _denies,
        "another default": _default,
        "an empty policy": _nothing,
    }
)
