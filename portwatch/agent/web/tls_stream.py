"""The bytes of one connection, encrypted. Imported only where the configuration has TLS: `ssl`
with OpenSSL takes megabytes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from selectors import EVENT_READ, EVENT_WRITE

from portwatch.agent.web.config.tls import has_allowed_name
from portwatch.agent.web.stream import Gone, Stream, Waits


class TlsStream(Stream):
    """Where there are `allowed_sans`, only for clients whose certificate has one of them."""

    def __init__(
        self, accepted: socket.socket, context: ssl.SSLContext, allowed_sans: frozenset[str]
    ) -> None:
        self._tls = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        super().__init__(self._tls)
        self._allowed_sans = allowed_sans

    def begin(self) -> None:
        """Shake hands: nothing is read before."""
        with _waiting():
            self._tls.do_handshake()
        certificate = self._tls.getpeercert()
        if self._allowed_sans and not has_allowed_name(certificate, self._allowed_sans):
            raise Gone

    def read(self, size: int) -> bytes:
        """As Stream has it; a record at most."""
        with _waiting():
            return super().read(size)

    def write(self, data: memoryview) -> int:
        """As Stream has it."""
        with _waiting():
            return super().write(data)

    def end(self) -> None:
        """As Stream has it, with the goodbye of TLS."""
        with suppress(OSError):  # it is sent; that the client has not answered is no matter
            self._tls.unwrap()
        super().end()


@contextmanager
def _waiting() -> Iterator[None]:
    """TLS may have to write where it was asked to read, and the other way round."""
    try:
        yield
    except ssl.SSLWantReadError:
        raise Waits(EVENT_READ) from None
    except ssl.SSLWantWriteError:
        raise Waits(EVENT_WRITE) from None
    except ValueError as err:  # it has no TLS left to speak with
        raise Gone from err
