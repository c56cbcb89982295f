"""What the agent knows and the kernel does not: kept by the loop, read by the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from portwatch.agent.survey.report import PublishedSeries, PublishedSpan, Series, ShadowedSeries


@dataclass(frozen=True, slots=True)
class Refusal:
    """A policy that was not loaded: when, in seconds since the epoch, and every error."""

    seconds: float
    errors: tuple[str, ...]


@dataclass
class AgentState:
    """What the agent knows and the kernel does not."""

    sha256: str = ""
    mode: str = ""
    source: str = ""
    constraints: int = 0
    generation: int = 0
    enforcing: bool = False
    last_load_successful: bool = False
    last_load_success_seconds: float = 0.0
    refusal: Refusal | None = None
    events: Counter[str] = field(default_factory=Counter)
    map_fill: Callable[[], dict[str, tuple[int, int]]] = dict
    unclassified: Callable[[], int] = int
    listeners: list[tuple[Series, int]] = field(default_factory=list)
    listeners_folded: int = 0
    listeners_surveyed_seconds: float = 0.0
    published: list[tuple[PublishedSeries, int]] = field(default_factory=list)
    published_spans: list[PublishedSpan] = field(default_factory=list)
    shadowed: list[tuple[ShadowedSeries, int]] = field(default_factory=list)
    published_unread: bool = False
