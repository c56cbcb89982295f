"""Users and passwords of the web configuration: bcrypt, dear by design, and so done rarely."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from portwatch.errors import UsageError

MAX_REMEMBERED = 64
"""Good credentials that are not computed again."""

BCRYPT_BYTES = 72
"""bcrypt looks at no more of a password; newer libraries refuse it where the older cut it."""

PAUSE_FACTOR = 3
"""After a wrong password, pause that many times what it took: guessing gets a quarter of a core."""


def require_bcrypt() -> Callable[[bytes, bytes], bool]:
    """Whether a password is a hash's, as bcrypt says; UsageError where that is not installed."""
    try:
        import bcrypt  # only who has users pays for it
    except ImportError:
        raise UsageError(
            "basic_auth_users needs bcrypt",
            hint="apt install python3-bcrypt, or pip install bcrypt",
        ) from None
    return bcrypt.checkpw


class BasicAuth:
    """Judges `Authorization` headers. `known` is quick and for any thread; `check` is not: one
    thread calls it, for one header at a time."""

    def __init__(self) -> None:
        self._matches = require_bcrypt()
        self._secret = os.urandom(32)
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def known(self, header: bytes, users: Mapping[str, bytes]) -> bool:
        """Whether this header was found good, by the hash that the user has now."""
        user, password = _credentials(header)
        return self._digest(user, users.get(user, b""), password) in self._good

    def check(self, header: bytes, users: Mapping[str, bytes]) -> bool:
        """Whether the password is the user's. A user who is not there costs what the dearest does,
        so that time tells no names."""
        user, password = _credentials(header)
        begin = time.monotonic()
        stored = users.get(user)
        dearest = max(users.values(), key=lambda word: word.split(b"$")[2])
        matches = self._matches(password[:BCRYPT_BYTES].replace(b"\0", b"?"), stored or dearest)
        if stored is not None and matches and b"\0" not in password:
            self._good[self._digest(user, stored, password)] = None
            while len(self._good) > MAX_REMEMBERED:
                self._good.popitem(last=False)
            return True
        time.sleep(PAUSE_FACTOR * (time.monotonic() - begin))
        return False

    def _digest(self, user: str, stored: bytes, password: bytes) -> bytes:
        """A key under which good credentials are remembered without being kept."""
        joined = b"\0".join((user.encode(), stored, password))
        return hmac.digest(self._secret, joined, "sha256")


def _credentials(header: bytes) -> tuple[str, bytes]:
    """User and password; empty where it is no `Basic` header."""
    scheme, _, encoded = header.partition(b" ")
    try:
        if scheme.lower() != b"basic":
            return "", b""
        user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return user.decode(), password
    except (binascii.Error, UnicodeDecodeError):
        return "", b""
