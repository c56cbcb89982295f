"""Names of constraints and workloads, by the number under which the programs count them.

Kept in a map of userspace's own, so that the counts keep their names over agents' lives. A
number is never given twice while the pins live: what is in flight cannot be misnamed.
"""

from __future__ import annotations

from collections.abc import Iterable

from portwatch.kernel.bpfmap import BpfMap
from portwatch.kernel.maps import NAME_BYTES

OTHER = 0  # nobody's number: what does not fit is counted under it
LAST_NUMBER_KEY = (0).to_bytes(4, "little")
OTHER_NAME = "other"


class Names:
    """The registry, a copy of the map in memory; whoever adds holds PinDir.changing()."""

    def __init__(self, pinned: BpfMap) -> None:
        self._map = pinned
        self._texts: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._last = 0
        self._nobody = {OTHER}  # numbers without a name: given once, and never again
        self.reload()

    def reload(self) -> None:
        """Read the map again, after another process may have added to it."""
        texts = {}  # whole before it is shown: a scrape reads from another thread
        for key, value in self._map.items():
            if key == LAST_NUMBER_KEY:
                self._last = int.from_bytes(value[:4], "little")
            else:
                text = value.rstrip(b"\0").decode("utf-8", "replace")
                texts[int.from_bytes(key, "little")] = text
        self._texts = texts
        self._numbers = {text: number for number, text in self._texts.items()}

    def text(self, number: int) -> str:
        """The name under `number`; `other` where there is none."""
        if number not in self._texts and number not in self._nobody:
            self.reload()
            if number not in self._texts:
                self._nobody.add(number)
        return self._texts.get(number, OTHER_NAME)

    def numbers(self, texts: Iterable[str]) -> dict[str, int]:
        """A number for each name, new ones for new names; OTHER where the map is full."""
        known_by = {text: cut(text) for text in texts}
        fresh = [text for text in dict.fromkeys(known_by.values()) if text not in self._numbers]
        self._add(fresh[: self._map.max_entries - 1 - len(self._texts)])
        return {text: self._numbers.get(shortened, OTHER) for text, shortened in known_by.items()}

    def known_numbers(self, texts: Iterable[str]) -> set[int]:
        """The numbers of those names that have one."""
        return {self._numbers[cut(text)] for text in texts if cut(text) in self._numbers}

    def forget_all_but(self, numbers: Iterable[int]) -> None:
        """Drop the names that nothing refers to any more."""
        kept = set(numbers)
        for number in [number for number in self._texts if number not in kept]:
            self._map.delete(number.to_bytes(4, "little"))
            del self._numbers[self._texts.pop(number)]

    def __len__(self) -> int:
        return len(self._texts)

    def _add(self, texts: list[str]) -> None:
        if not texts:
            return
        first = self._last + 1
        self._last += len(texts)
        # The counter first: after a crash numbers are lost, never given twice.
        self._map.put(LAST_NUMBER_KEY, self._last.to_bytes(4, "little").ljust(NAME_BYTES, b"\0"))
        numbered = list(enumerate(texts, first))
        self._map.put_all(
            (number.to_bytes(4, "little"), text.encode().ljust(NAME_BYTES, b"\0"))
            for number, text in numbered
        )
        self._texts.update(numbered)
        self._numbers.update((text, number) for number, text in numbered)


def cut(text: str) -> str:
    """What a name is known by: at most NAME_BYTES of UTF-8, of a longer one its end."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= NAME_BYTES:
        return raw.decode()
    return "…" + raw[-(NAME_BYTES - 3) :].decode("utf-8", "ignore")
