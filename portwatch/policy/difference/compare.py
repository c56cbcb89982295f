"""What changes between two policies whose lists may hold `declared`.

Whether a port is declared by the pod that binds is all that the word asks. So each policy is two
without it, one for ports that are declared and one for all others, and these are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from portwatch.policy.difference.difference import Difference, Region, order
from portwatch.policy.difference.effort import QUICK, Effort
from portwatch.policy.difference.endpoints import Area
from portwatch.policy.model import Policy
from portwatch.policy.tables.compile import Accounts
from portwatch.policy.words.ports import DECLARED_PROTOCOLS


@dataclass(frozen=True)
class Comparison:
    """As Difference: the regions, those whose verdict changes first, and whether that is all."""

    regions: tuple[Region, ...]
    is_complete: bool
    has_all_verdicts: bool


def compare(old: Policy, new: Policy, accounts: Accounts, effort: Effort = QUICK) -> Comparison:
    """Return what changes; a region says so that is about declared ports alone, or the others."""
    if not old.uses_declared and not new.uses_declared:
        one = Difference(old, new, accounts, effort)
        return Comparison(one.regions, one.is_complete, one.has_all_verdicts)
    others, theirs = (
        Difference(old.as_declared(is_declared), new.as_declared(is_declared), accounts, effort)
        for is_declared in (False, True)
    )
    regions = sorted(_merged(others.regions, theirs.regions), key=order)
    return Comparison(
        tuple(regions),
        others.is_complete and theirs.is_complete,
        others.has_all_verdicts and theirs.has_all_verdicts,
    )


def _merged(others: tuple[Region, ...], theirs: tuple[Region, ...]) -> Iterator[Region]:
    both = set(map(_what, others)) & set(map(_what, theirs))
    for region in others:
        yield region if _what(region) in both else replace(region, declared=False)
    for region in theirs:
        areas = tuple(_declarable(region.areas))
        if areas and _what(region) not in both:
            # An example would need a pod that declares the port.
            yield replace(region, declared=True, areas=areas, example=None)


def _declarable(areas: Iterable[Area]) -> Iterator[Area]:
    for area in areas:
        protocols = tuple(one for one in area.protocols if one in DECLARED_PROTOCOLS)
        ports = tuple(one for one in area.ports if one[1] > 0)
        if protocols and ports:
            yield replace(area, protocols=protocols, ports=ports)


def _what(region: Region) -> Region:
    return replace(region, example=None, endpoints=0)
