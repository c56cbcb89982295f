"""Policy files → a checked Policy, or one PolicyError that lists everything wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from portwatch.digest import sha256
from portwatch.errors import UsageError
from portwatch.policy.catalog.use import STORED_CATALOG, CatalogUse, own_sets
from portwatch.policy.model import (
    DEFAULT_NAME,
    MAX_CONSTRAINTS,
    UNKNOWN_PODS,
    Constraint,
    Policy,
)
from portwatch.policy.source.files import read_files
from portwatch.policy.source.merge import Merged, Spot, merge
from portwatch.policy.source.problems import Problems, quote
from portwatch.policy.source.resolve import Resolver
from portwatch.policy.words.names import NAME, NAME_RULE
from portwatch.policy.workload import Selector, Workload


def load_policy(path: Path) -> Policy:
    """Load one file, or a directory's `*.yaml` merged in name order.

    Raises PolicyError for what they say, UsageError where they cannot be read.
    """
    return parse_policy(policy_sources(path), source=str(path))


def builtin_policy() -> Policy:
    """Return the policy that is used where there is none: it only records."""
    return parse_policy(builtin_sources(), source="builtin")


def builtin_sources() -> list[tuple[str, bytes]]:
    """Read the built-in policy's text, in the form of policy_sources()."""
    path = Path(__file__).parents[1] / "builtin.yaml"
    return [(path.name, path.read_bytes())]


def policy_sources(path: Path) -> list[tuple[str, bytes]]:
    """Read the files of a policy: (name, bytes), in the order in which they merge.

    Raises UsageError where there is nothing to read.
    """
    sources = read_files(path, "policy")
    if not sources:
        hint = "put a policy there, or leave out --policy for the built-in one"
        raise UsageError(f"no *.yaml in the policy directory {path}", hint=hint)
    return sources


def parse_policy(sources: Sequence[tuple[str, str | bytes]], *, source: str = "") -> Policy:
    """Check and merge files given as (name, text); `source` names the whole in metrics.

    Among them may be the sets of the catalog as catalog_use stored them: they then mean what they
    meant. Raises PolicyError with every problem of every file.
    """
    problems = Problems()
    files = [(name, text) for name, text in sources if name != STORED_CATALOG]
    catalog = CatalogUse(next((text for name, text in sources if name == STORED_CATALOG), None))
    merged = merge(files, problems)
    resolver = Resolver(merged, catalog)
    resolver.check_definitions()
    policy = _build(merged, resolver, source or (files[0][0] if files else ""))
    problems.raise_if_any()
    texts = [text for _, text in files]
    return replace(policy, catalog=catalog.used, sha256=_hash([*texts, own_sets(catalog.used)]))


def _hash(texts: Sequence[str | bytes]) -> str:
    """Return the SHA-256 of texts one after another: for files, `cat *.yaml | sha256sum`."""
    digest = sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "replace") if isinstance(text, str) else text)
    return digest.hexdigest()


def _build(merged: Merged, resolver: Resolver, source: str) -> Policy:
    settings = merged.settings
    unknown_pods = _unknown_pods(merged)
    constraints = [unknown_pods] if unknown_pods else []
    room = MAX_CONSTRAINTS - len(constraints)
    if len(merged.constraints) > room:
        count = len(merged.constraints) + len(constraints)
        message = f"{count:,} constraints; a policy has at most {MAX_CONSTRAINTS:,}"
        merged.report(merged.constraints[room], message)
    names = {UNKNOWN_PODS: merged.spots["pods"]} if unknown_pods else {}
    for spot in merged.constraints[:room]:
        _check_name(merged, spot.at("name") if "name" in spot.value else None, names)
        constraints.append(_constraint(merged, resolver, spot))
    workloads = tuple(
        Workload(name, resolver.workloads(spot))
        for name, spot in merged.definitions["workloads"].items()
    )
    return Policy(
        mode=settings.get("mode", "record"),
        default=settings.get("default", "allow"),
        errno=settings.get("errno", "EACCES"),
        constraints=tuple(constraints),
        workloads=workloads,
        source=source,
        sha256="",
        reason=settings.get("reason"),
    )


def _unknown_pods(merged: Merged) -> Constraint | None:
    """Return what `pods: {unknown: …}` stands for: the first constraint, in the file's mode."""
    settings, spot = merged.settings, merged.spots.get("pods")
    if spot is None or "unknown" not in spot.value:
        return None
    line, column = spot.document.place(spot.path)
    return Constraint(
        name=UNKNOWN_PODS,
        mode=settings.get("mode", "record"),
        errno=settings.get("errno", "EACCES"),
        reason=settings.get("reason") or "nothing is known of this pod yet",
        subject_for=(Selector(pod_known=("false",)),),
        otherwise=spot.value["unknown"],
        file=spot.document.name,
        line=line,
        column=column,
    )


def _check_name(merged: Merged, spot: Spot | None, names: dict[str, Spot]) -> None:
    if spot is None:
        return
    name = spot.value
    if not NAME.fullmatch(name):
        merged.report(spot, f"{quote(name)} is no name: {NAME_RULE}")
    elif name == DEFAULT_NAME:
        merged.report(spot, f"the name `{DEFAULT_NAME}` is taken: denials by `default` have it")
    elif name in names:
        merged.report(spot, f"constraint {quote(name)} is already defined at {names[name].where()}")
    names.setdefault(name, spot)


def _constraint(merged: Merged, resolver: Resolver, spot: Spot) -> Constraint:
    raw: dict[str, Any] = spot.value
    settings = merged.settings
    damaged = (spot.document.name, spot.path) in merged.damaged
    if not damaged and not raw.keys() & {"deny", "allow", "otherwise"}:
        merged.report(spot, "the constraint says nothing: it needs `deny`, `allow` or `otherwise`")
    has_allow = "allow" in raw
    subject_for, subject_except = spot.get("for"), spot.get("except")
    own_mode, accept = raw.get("mode"), spot.get("accept")
    line, column = spot.document.place(spot.path)
    return Constraint(
        name=raw.get("name", ""),
        mode=own_mode or settings.get("mode", "record"),
        errno=raw.get("errno") or settings.get("errno", "EACCES"),
        reason=raw.get("reason") or settings.get("reason"),
        subject_for=resolver.workloads(subject_for) if subject_for else None,
        subject_except=resolver.workloads(subject_except) if subject_except else (),
        network=raw.get("network", "any"),
        addresses=resolver.addresses(spot.get("addresses")),
        deny=resolver.ports(spot.get("deny")),
        allow=resolver.ports(spot.get("allow")),
        has_allow=has_allow,
        otherwise=raw.get("otherwise", "deny" if has_allow else "continue"),
        own_mode=own_mode,
        accept=tuple(dict.fromkeys(item.value for item in accept.items())) if accept else (),
        file=spot.document.name,
        line=line,
        column=column,
    )
