"""The names that a container image goes by, of which a selector may use any.

Follows the reference grammar of the distribution project: a name without a registry is Docker
Hub's, one without a path there is below `library/`, and one without a tag is tagged `latest`.
"""

from __future__ import annotations

from functools import lru_cache

_HUB = "docker.io/"
_LIBRARY = "docker.io/library/"


@lru_cache(1024)
def image_names(reference: str) -> tuple[str, ...]:
    """Return `reference` and its equals, each with tag, with digest, and without both.

    An image named by its id alone, `sha256:…`, has no other name.
    """
    if reference.startswith("sha256:"):
        return (reference,)
    rest, _, digest = reference.partition("@")
    slash = rest.rfind("/")
    colon = rest.find(":", slash + 1)
    name, tag = (rest[:colon], rest[colon + 1 :]) if colon >= 0 else (rest, "")
    found = [reference]
    for spelling in _spellings(name):
        found.append(spelling)
        if tag or not digest:
            found.append(f"{spelling}:{tag or 'latest'}")
        if digest:
            found.append(f"{spelling}@{digest}")
    return tuple(dict.fromkeys(found))


def _spellings(name: str) -> tuple[str, ...]:
    if name.startswith(_LIBRARY) and "/" not in name[len(_LIBRARY) :]:
        return name, name[len(_HUB) :], name[len(_LIBRARY) :]
    if name.startswith(_HUB):
        return name, name[len(_HUB) :]
    host, slash, _ = name.partition("/")
    if not slash:
        return name, _LIBRARY + name, f"library/{name}"
    if "." in host or ":" in host or host == "localhost":
        return (name,)
    short = (name.removeprefix("library/"),) if name.count("/") == 1 else ()
    return tuple(dict.fromkeys((name, _HUB + name, *short)))
