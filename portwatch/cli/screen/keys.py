"""What a terminal sends for keys, as names: a character itself, or `up`, `enter`, `escape`, …"""

from __future__ import annotations

import codecs
import re

SEQUENCES = {
    "[A": "up",
    "[B": "down",
    "[C": "right",
    "[D": "left",
    "OA": "up",
    "OB": "down",
    "OC": "right",
    "OD": "left",
    "[H": "home",
    "[F": "end",
    "OH": "home",
    "OF": "end",
    "[1~": "home",
    "[4~": "end",
    "[5~": "page up",
    "[6~": "page down",
}
CONTROLS = {
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x15": "clear",
    "\x0c": "redraw",
    "\x06": "page down",
    "\x02": "page up",
}
# As ECMA-48 has them: parameters, intermediates, one final byte.
_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O.)")
_BEGUN = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?\Z")
MAX_SEQUENCE = 32


class Keys:
    """Decodes a stream that may break anywhere."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    @property
    def is_waiting(self) -> bool:
        """Whether the escape key was hit, or a sequence has begun: the next moment tells."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """The keys that these bytes make whole."""
        text, self._rest = self._rest + self._decoder.decode(data), ""
        found = []
        while text:
            if text[0] != "\x1b":
                key, text = CONTROLS.get(text[0], text[0]), text[1:]
                if key.isprintable():
                    found.append(key)
            elif match := _SEQUENCE.match(text):
                text = text[match.end() :]
                if match[1] in SEQUENCES:
                    found.append(SEQUENCES[match[1]])
            elif _BEGUN.match(text) and len(text) < MAX_SEQUENCE:
                self._rest, text = text, ""
            else:
                text = text[1:]
                found.append("escape")
        return found

    def settle(self) -> list[str]:
        """Nothing more came: what was waiting was the escape key."""
        waiting, self._rest = self._rest, ""
        return ["escape"] if waiting else []
