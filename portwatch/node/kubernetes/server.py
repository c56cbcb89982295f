"""Which API server is asked, and as whom.

Files are named, not read: the token and the certificates of a pod or of a kubelet are replaced as
time goes by, and each connection takes those of its day.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from portwatch.errors import ApiFailed, UsageError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MAX_TOKEN_BYTES = 64 << 10


@dataclass(frozen=True)
class ApiServer:
    """`url` is its https address; `ca` the certificates that it is known by, as a file or as PEM
    text, None for the system's; then who asks: by token, by client certificate, or nobody."""

    url: SplitResult
    ca_file: Path | None = None
    ca_text: str | None = None
    token_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None

    @property
    def host(self) -> str:
        """Its name or address."""
        return self.url.hostname or ""

    @property
    def port(self) -> int:
        """Its port."""
        return self.url.port or (443 if self.url.scheme == "https" else 80)

    def bearer(self) -> str | None:
        """Return the token as it is now; ApiFailed where it cannot be read."""
        if self.token_file is None:
            return self.token
        try:
            with self.token_file.open("rb") as opened:
                text = opened.read(MAX_TOKEN_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as err:
            why = getattr(err, "strerror", None) or "it is no token"
            raise ApiFailed("unauthorized", f"token {self.token_file}: {why}") from err
        if not text or not text.isprintable():
            raise ApiFailed("unauthorized", f"token {self.token_file}: it is no token")
        return text


def parse_url(text: str) -> SplitResult:
    """Return the address of an API server; UsageError where it is none, or nobody may trust it."""
    try:
        url = urlsplit(text)
        fits = bool(url.hostname) and url.scheme in ("http", "https") and url.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise UsageError(f"{text!r} is no API server", hint="for example https://10.0.0.1:6443")
    if url.scheme == "http" and not _is_loopback(url.hostname or ""):
        raise UsageError(f"{text!r}: whoever is on the way could say which pods there are: https")
    return url


def in_cluster(environment: Mapping[str, str], account: Path = ACCOUNT) -> ApiServer | None:
    """Return the server that a pod is told of by its environment; None outside of clusters."""
    host = environment.get("KUBERNETES_SERVICE_HOST")
    port = environment.get("KUBERNETES_SERVICE_PORT_HTTPS") or environment.get(
        "KUBERNETES_SERVICE_PORT"
    )
    if not host or not port or not (account / "token").exists():
        return None
    shown = f"[{host}]" if ":" in host else host
    return ApiServer(
        parse_url(f"https://{shown}:{port}"),
        ca_file=account / "ca.crt",
        token_file=account / "token",
    )


def decoded(text: str, what: str) -> str:
    """Return the text that a `…-data` field of a kubeconfig has in base64; UsageError."""
    try:
        return base64.b64decode(text, validate=True).decode("ascii")
    except ValueError as err:
        raise UsageError(f"{what} is no base64 of a PEM text") from err


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
