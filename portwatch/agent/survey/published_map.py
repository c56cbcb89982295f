"""Tells the bind hooks which ports NAT gives to somebody else, as the last survey found them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portwatch.agent.survey.report import PublishedSpan
from portwatch.kernel import layout
from portwatch.kernel.bpfmap import BpfMap
from portwatch.kernel.slots import Slots
from portwatch.policy.words.addresses import Address

VALUE_BYTES = 4


class PublishedMap:
    """The kernel's map of published ports; binds cost nothing for it while it is empty."""

    def __init__(self, opened: BpfMap, slots: Slots) -> None:
        self._map = opened
        self._slots = slots

    def keep(self, spans: Iterable[PublishedSpan]) -> None:
        """These, and no others, from now on."""
        wanted: dict[bytes, int] = {}
        for span in spans:
            for key, reach in _entries(span):
                wanted[key] = wanted.get(key, 0) | reach
        known = list(self._map.keys())
        self._map.delete_all(key for key in known if key not in wanted)
        if wanted:
            self._map.put_all(
                (key, reach.to_bytes(VALUE_BYTES, "little")) for key, reach in wanted.items()
            )
        self._slots.watch_published(bool(wanted))

    def close(self) -> None:
        """Hold binds against it no more: nobody keeps it up to date."""
        self._slots.watch_published(False)
        self._map.close()


def _entries(span: PublishedSpan) -> Iterator[tuple[bytes, int]]:
    """The keys of struct published_key, and how far each reaches."""
    network, protocol, family, address, first, last, _source = span
    row = layout.PROTOCOL_NAMES.index(protocol)
    packed = Address.parse(address).packed if address else b""
    reach = 0 if packed else layout.PUBLISHED_EVERYWHERE
    for port in range(first, last + 1):
        where = layout.PublishedKey(port=port, protocol=row)
        yield bytes(where), 0
        where.netns_inode, where.family = network, 0 if family == 4 else 1
        yield bytes(where), reach
        if packed:
            where.address[:] = packed
            yield bytes(where), 0
