"""The tables of docs/kernels.md, made from what kernels gave when tested: docs/kernels/*.json.

`write` writes them into the page; `compare DIR` says where kernels gave, in later runs whose facts
are in DIR, something else than the page tells, and exits 1 then.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from portwatch.kernel.features import LOST_WITHOUT, Feature
from portwatch.kernel.hooks import COLLISION_HOOKS, SYS_EXIT_BIND
from portwatch.kernel.uncovered import uncovered

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "kernels.md"
BEGIN, END = "<!-- made by `make test-kernels`; not by hand -->\n", "<!-- end of what is made -->\n"
COMPARED = ("features", "hooks", "gaps")

Facts = dict[str, Any]
"""As kernel_facts writes them."""

GIVES: dict[Feature, str] = {
    Feature.SET_RETVAL: "the policy's errno",
    Feature.POST_DENY: "a picked port is refused",
    Feature.COARSE_CLOCK: "a coarse clock",
    Feature.SOCKET_CGROUP: "who made a passed socket",
    Feature.NETNS_INODE: "network namespaces by inode",
    Feature.IPV6ONLY: "IPV6_V6ONLY is read",
    Feature.TASK_CGROUP: "the task's cgroup without a helper",
    Feature.KERNEL_TYPES: "kernel types (BTF)",
    Feature.LSM: "SCTP is judged, an unbound listen() refused (BPF LSM)",
    Feature.FUNCTION_EXIT: "programs on functions",
    Feature.TASK_PT_REGS: "a tracepoint to fall back on",
    Feature.SOCKET_STORAGE: "marks on sockets",
    Feature.NETNS_COOKIE: "the host's network, whichever it is",
    Feature.PROCESS_DETAILS: "the command line of who has ended",
}


def all_facts(directory: Path) -> dict[str, Facts]:
    """By kernel, old ones first, this machine's own last."""
    found = {path.stem: json.loads(path.read_text()) for path in directory.glob("*.json")}
    return dict(sorted(found.items(), key=lambda item: _age(item[0])))


def page_of(text: str, facts: dict[str, Facts]) -> str:
    """The page with its tables made anew."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    tables = (_given(facts), _gaps(facts), _tests(facts))
    made = "\n".join("".join(f"| {' | '.join(row)} |\n" for row in table) for table in tables)
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def differences(told: dict[str, Facts], given: dict[str, Facts]) -> Iterator[str]:
    """Where a kernel gave something else than is told of it."""
    for kernel, facts in given.items():
        for what in COMPARED:
            before = set(told.get(kernel, {}).get(what, ()))
            now = set(facts.get(what, ()))
            yield from (f"{kernel}: {what}: {one} is new" for one in sorted(now - before))
            yield from (f"{kernel}: {what}: {one} is gone" for one in sorted(before - now))


def _age(kernel: str) -> tuple[Any, ...]:
    version, _, more = kernel.partition("+")
    return (
        (0, *(int(part) for part in version.split(".")), more) if more or "." in version else (1,)
    )


def _given(facts: dict[str, Facts]) -> Iterator[Iterable[str]]:
    yield ["", *(_title(kernel) for kernel in facts), "without it"]
    yield ["---"] * (len(facts) + 2)
    yield ["release", *(one["kernel"] for one in facts.values()), ""]
    yield ["`bpf` among its LSMs", *(_yes("bpf" in one["lsms"]) for one in facts.values()), ""]
    for feature in Feature:
        has = (_yes(feature.name in one["features"]) for one in facts.values())
        yield [GIVES[feature], *has, LOST_WITHOUT[feature]]
    yield ["failed binds are seen by", *(_collisions(one["hooks"]) for one in facts.values()), ""]
    yield ["hooks", *(str(len(one["hooks"])) for one in facts.values()), ""]


def _gaps(facts: dict[str, Facts]) -> Iterator[Iterable[str]]:
    yield ["gap in `portwatch_uncovered`", "on", "means there"]
    yield ["---"] * 3
    on: dict[tuple[str, str], list[str]] = {}
    for kernel, one in facts.items():
        features = sum(Feature[name] for name in one["features"])
        words = uncovered(features, set(one["hooks"]))
        for gap in one["gaps"]:
            on.setdefault((gap, words[gap]), []).append(_title(kernel))
    for (gap, words), kernels in on.items():
        yield [
            f"`{gap}`",
            "every kernel" if len(kernels) == len(facts) else ", ".join(kernels),
            words,
        ]


def _tests(facts: dict[str, Facts]) -> Iterator[Iterable[str]]:
    yield ["kernel", "run", "passed", "failed", "left out"]
    yield ["---"] * 5
    for kernel, one in facts.items():
        ran = one["tests"]
        out = "; ".join(f"{count} {reason}" for reason, count in ran["left out"].items())
        failed = ", ".join(f"`{name}`" for name in ran["failed"])
        of = ", ".join(f"`{name}`" for name in ran["of"])
        yield [_title(kernel), of, f"{ran['passed']:,}", failed or "none", out or "none"]


def _title(kernel: str) -> str:
    return "this machine's" if kernel == "native" else kernel


def _yes(has: bool) -> str:
    return "yes" if has else "**no**"


def _collisions(hooks: list[str]) -> str:
    if SYS_EXIT_BIND.name in hooks:
        return "tracepoint"
    return "functions" if COLLISION_HOOKS & set(hooks) else "nothing"


def main(arguments: list[str]) -> int:
    """`write`, or `compare DIR`."""
    told = all_facts(DOCS / "kernels")
    if arguments == ["write"]:
        PAGE.write_text(page_of(PAGE.read_text(), told))
        return 0
    found = list(differences(told, all_facts(Path(arguments[1]))))
    for line in found:
        print(line)
    if found:
        print("docs/kernels.md tells otherwise: `make test-kernels` makes it anew")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
