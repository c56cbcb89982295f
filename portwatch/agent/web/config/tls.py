"""The TLS side of a web configuration as an SSLContext of Python's `ssl`."""

from __future__ import annotations

import ipaddress
import ssl
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portwatch.errors import UsageError

if TYPE_CHECKING:
    from portwatch.agent.web.config.shape import TlsSpec

# Go's names, which the format uses → OpenSSL's. Those of TLS 1.3 cannot be chosen, there or here.
_TLS13 = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)
CIPHERS = {
    **dict.fromkeys(_TLS13, ""),
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
CURVES = {
    "X25519": "X25519",
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
}
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class _Encrypted(Exception):
    """A key asks for a passphrase, and nobody is there to type it."""


def tls_context(spec: TlsSpec, files: Sequence[Path]) -> ssl.SSLContext:
    """A context for one generation of `files`: certificate, key and, where there is one, CA.

    Raises UsageError, naming the file that cannot be used.
    """
    certificate, key, *authority = files
    try:
        context = _without_files(spec)
    except (ssl.SSLError, ValueError) as err:  # OpenSSL may be built, or told, to have fewer
        raise UsageError(f"OpenSSL refuses these ciphers or this curve: {err}") from err
    _check_readable(certificate, "certificate")
    _check_private(key)
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except _Encrypted:
        raise UsageError(f"the key {key} is encrypted", hint="portwatch takes plain keys") from None
    except OSError as err:
        raise UsageError(
            f"cannot use the certificate {certificate} with the key {key}: {_reason(err)}",
            hint="both are PEM, and the key is the certificate's",
        ) from err
    if authority:
        _check_readable(authority[0], "client CA")
        context.verify_mode = _VERIFY[spec.client_auth_type]
        try:
            context.load_verify_locations(authority[0])
        except OSError as err:
            raise UsageError(f"cannot use the client CA {authority[0]}: {_reason(err)}") from err
    return context


def _without_files(spec: TlsSpec) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[spec.min_version]
    context.maximum_version = _VERSIONS[spec.max_version]
    if spec.cipher_suites:
        older = [CIPHERS[word] for word in spec.cipher_suites if CIPHERS[word]]
        if older:
            context.set_ciphers(":".join(older))
        else:
            context.minimum_version = ssl.TLSVersion.TLSv1_3  # nothing is left for TLS 1.2
    if not spec.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_RENEGOTIATION
    if spec.curve_preferences:
        context.set_ecdh_curve(CURVES[spec.curve_preferences[0]])
    context.set_alpn_protocols(["http/1.1"])
    return context


def has_allowed_name(certificate: dict[str, Any] | None, allowed: frozenset[str]) -> bool:
    """Whether a verified client certificate has one of the alternative names, to the letter."""
    names = (certificate or {}).get("subjectAltName", ())
    return any(_name(kind, value) in allowed for kind, value in names)


def _name(kind: str, value: str) -> str:
    if kind != "IP Address":
        return str(value)
    try:
        return str(ipaddress.ip_address(value.strip()))
    except ValueError:
        return ""


def _check_private(key: Path) -> None:
    """A key that every local user can read or replace is nobody's: refused, not warned of."""
    if _check_readable(key, "key") & stat.S_IRWXO:
        raise UsageError(
            f"the key {key} is open to every user of this machine", hint=f"chmod o-rwx {key}"
        )


def _check_readable(path: Path, what: str) -> int:
    try:
        with path.open("rb"):
            pass
        mode = path.stat().st_mode
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise UsageError(f"cannot read the {what} {path}: {reason}") from err
    return mode


def _no_passphrase() -> str:
    raise _Encrypted


def _reason(err: OSError) -> str:
    if not isinstance(err, ssl.SSLError):
        return err.strerror or str(err)
    return (err.reason or "no PEM in it").replace("_", " ").lower()
