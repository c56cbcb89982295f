"""What a page of the agent answers, whatever serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole response; `content_type` with its charset, `headers` beyond it."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: Headers = ()


Query = Mapping[str, str]
"""The parameters of a URL, each once, decoded."""

Page = Callable[[Query], Answer]
"""Called in a thread of the web server: it may read maps, and changes nothing."""


def text(line: str, status: HTTPStatus = HTTPStatus.OK, headers: Headers = ()) -> Answer:
    """One line of plain text."""
    return Answer(status, TEXT, line.encode() + b"\n", headers)
