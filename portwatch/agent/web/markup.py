"""HTML and SVG by string building, where everything that is not `Html` already gets escaped.

A name on the page may be anything that somebody could call a cgroup or a container.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

Attribute = str | int | float | None

_VOID = {"input", "link", "meta", "br"}
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\ufffe\uffff]"
)
"""What no page may hold, and what turns or hides the text beside it."""


class Html(str):
    """Markup; plain text is escaped where it meets it."""

    __slots__ = ()


def element(tag: str, *parts: str | None, **attributes: Attribute) -> Html:
    """An element around its parts; `class_` is `class`, `_` in other names is `-`. A part or an
    attribute that is None is left out."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_plain(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{given}>")
    return Html(f"<{tag}{given}>{joined(parts)}</{tag}>")


def joined(parts: Iterable[str | None]) -> Html:
    """Parts one after the other."""
    found = (part if isinstance(part, Html) else escaped(part) for part in parts if part)
    return Html("".join(found))


def escaped(text: str) -> Html:
    """Text as markup; what cannot be seen is written as its number."""
    return Html(html.escape(_INVISIBLE.sub(_number, text)))


def shortened(text: str, most: int = 96) -> str:
    """At most so many characters: the beginning and the end tell a path apart."""
    if len(text) <= most:
        return text
    head = most // 3
    return f"{text[:head]}…{text[head + 1 - most :]}"


def _plain(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return escaped(value) if isinstance(value, str) else str(value)


def _number(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
