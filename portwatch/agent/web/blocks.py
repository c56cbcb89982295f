"""Regions of a port map as blocks that can be seen: what is too narrow is drawn together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from portwatch.agent.web.portmap import Region
from portwatch.agent.web.scale import width
from portwatch.policy.tables.outcomes import ALLOWED, DENIED, RECORDED

NARROW = 0.35
"""Per cent of the strip: three pixels of a thousand."""

_BY_WEIGHT = (DENIED, RECORDED, ALLOWED)


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring regions that are drawn as one: the weightiest verdict is its own."""

    regions: tuple[Region, ...]

    @property
    def first(self) -> int:
        """Its first port."""
        return self.regions[0].first

    @property
    def last(self) -> int:
        """Its last port."""
        return self.regions[-1].last

    @property
    def verdict(self) -> int:
        """Denied before recorded before allowed."""
        verdicts = {region.outcome.verdict for region in self.regions}
        return next(one for one in _BY_WEIGHT if one in verdicts)

    @property
    def is_narrow(self) -> bool:
        """Whether it has to be drawn wider than it is."""
        return width(self.first, self.last) < NARROW


def blocks(regions: Iterable[Region]) -> Iterator[Block]:
    """Yield the blocks in order: each wide region alone, narrow neighbours together as far as they
    would cover one another."""
    together: list[Region] = []
    for region in regions:
        if width(region.first, region.last) >= NARROW:
            if together:
                yield Block(tuple(together))
                together = []
            yield Block((region,))
        else:
            together.append(region)
            if width(together[0].first, region.last) >= NARROW:
                yield Block(tuple(together))
                together = []
    if together:
        yield Block(tuple(together))
