"""SHA-256 without OpenSSL.

`hashlib` loads libcrypto, 3.7 MiB of the agent's memory, for what CPython has built in; its own
`random` goes this way too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha256 import sha256  # CPython 3.11
    except ImportError:
        try:
            from _sha2 import sha256  # and later
        except ImportError:
            from hashlib import sha256

__all__ = ["sha256"]
