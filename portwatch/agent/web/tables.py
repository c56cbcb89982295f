"""Tables of the pages: with headings for a screen reader, and scrolling where they are wide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from portwatch.agent.web.markup import Html, element, joined, shortened


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """One table; a head that begins with `#` is that of a column of numbers."""
    numeric = {index for index, head in enumerate(heads) if head.startswith("#")}
    head = element("tr", *(element("th", one.lstrip("#"), scope="col") for one in heads))
    body = [
        element(
            "tr",
            *(
                element("td", cell, class_="number" if index in numeric else None)
                for index, cell in enumerate(row)
            ),
        )
        for row in rows
    ]
    inner = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", *body),
    )
    return element("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """Names with what they are."""
    return element(
        "dl", *(joined((element("dt", name), element("dd", value))) for name, value in pairs)
    )


def named(text: str, link: str | None = None) -> Html:
    """A name of somebody else's making, apart from the text around it."""
    shown = element("bdi", shortened(text), title=text[:512] if len(text) > 96 else None)
    return element("a", shown, href=link) if link else shown


def verdict_badge(verdict: str) -> Html:
    """A verdict as a word in its colour."""
    return element("span", verdict, class_=f"badge {verdict}-badge")
