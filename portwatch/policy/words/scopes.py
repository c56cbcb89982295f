"""The word of the language for an address."""

from __future__ import annotations

from functools import lru_cache

from portwatch.policy.words.addresses import ADDRESS_WORDS, Address, networks_of

OTHER_SCOPE = "other"
"""The scope of an address that no word of the language means: multicast, CGNAT, documentation."""


@lru_cache(4096)
def scope_of(address: Address) -> str:
    """The first word of the policy language that means the address; OTHER_SCOPE for none."""
    for word in ADDRESS_WORDS:
        if any(network.contains(address) for network in networks_of(word)):
            return word
    return OTHER_SCOPE
