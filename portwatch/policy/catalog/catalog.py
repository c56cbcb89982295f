"""The catalog: ports that well-known software listens on, by name (`catalog:etcd`).

What is built in is catalog.yaml; a directory of the machine's own adds to it and overrides it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType

from portwatch.errors import PolicyError, UsageError
from portwatch.policy.catalog.entry import CatalogEntry
from portwatch.policy.catalog.files import Written, read_sets, whole_sets
from portwatch.policy.source.files import read_files
from portwatch.policy.source.problems import Problems

__all__ = ["CATALOG_DIR_VARIABLE", "CatalogEntry", "catalog", "catalog_dir", "readable_catalog"]

CATALOG_DIR = "/etc/portwatch/catalog.d"
CATALOG_DIR_VARIABLE = "PORTWATCH_CATALOG_DIR"

Sources = tuple[tuple[str, bytes], ...]


def catalog_dir() -> Path:
    """Where the machine's own sets are: $PORTWATCH_CATALOG_DIR, else /etc/portwatch/catalog.d."""
    return Path(os.environ.get(CATALOG_DIR_VARIABLE) or CATALOG_DIR)


def catalog() -> Mapping[str, CatalogEntry]:
    """Return the sets by name, those of the machine's own directory as they are now.

    Raises PolicyError for what its files say, UsageError where they cannot be read.
    """
    return _with_own(_own_sources(catalog_dir()))


def readable_catalog() -> Mapping[str, CatalogEntry]:
    """Return the sets by name, to call ports by: only what is built in, where the machine's own
    files are bad."""
    try:
        return catalog()
    except (PolicyError, UsageError):
        return _with_own(())


def _own_sources(directory: Path) -> Sources:
    try:
        directory.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError:
        pass  # read_files says what it is
    return tuple(read_files(directory, "catalog"))


@cache
def _built_in() -> Mapping[str, Written]:
    path = Path(__file__).with_name("catalog.yaml")
    problems = Problems()
    written = read_sets([(path.name, path.read_bytes())], {}, problems, is_own=False)
    problems.raise_if_any()
    return MappingProxyType(written)


@lru_cache(2)
def _with_own(sources: Sources) -> Mapping[str, CatalogEntry]:
    problems = Problems()
    written = read_sets(sources, _built_in(), problems)
    entries = whole_sets(written, problems)
    problems.raise_if_any()
    return MappingProxyType(entries)
