"""A web configuration file, read and checked: every problem of its text at its place."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from msgspec import convert
from msgspec.structs import asdict

from portwatch.agent.web.basic_auth import require_bcrypt
from portwatch.agent.web.config.settings import WebConfig
from portwatch.agent.web.config.shape import HeadersSpec, TlsSpec, WebSpec
from portwatch.agent.web.config.tls import CIPHERS, CURVES, tls_context
from portwatch.errors import PolicyError, UsageError, WebConfigError
from portwatch.policy.source.document import Document, read_document
from portwatch.policy.source.problems import Problems, quote
from portwatch.policy.source.shape import report_shape

MAX_COST = 14
"""A bcrypt hash of cost 14 takes a second; each step doubles it, and a scrape waits for it."""

_HASH = re.compile(r"\$2[abxy]?\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)
_HEADER_TEXT = re.compile(r"[\t\x20-\x7e]*")
_UNVERIFIED = ("RequireClientCert", "RequireAnyClientCert")
_VERIFIED = ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")


def load_web_config(path: Path) -> WebConfig:
    """Read it and the files that it names, which stand relative to it; WebConfigError with every
    problem of the text, UsageError where a file cannot be used."""
    try:
        spec = _parse(path)
    except PolicyError as err:
        raise WebConfigError(err.problems) from None
    files, context, sans = [path], None, frozenset[str]()
    if tls := spec.tls_server_config:
        named = (tls.cert_file, tls.key_file, tls.client_ca_file)
        files += [path.parent / name for name in named if name]
        context = tls_context(tls, files[1:])
        sans = frozenset(tls.client_allowed_sans)
    if spec.basic_auth_users:
        require_bcrypt()
    return WebConfig(
        tls=context,
        allowed_sans=sans,
        headers=tuple(pair for pair in _headers(spec.http_server_config.headers) if pair[1]),
        users={name: word.encode() for name, word in spec.basic_auth_users.items()},
        files=tuple(files),
    )


def _read(path: Path) -> bytes:
    try:
        if stat.S_IWOTH & path.stat().st_mode:
            raise UsageError(
                f"{path} can be written by every user of this machine",
                hint=f"chmod o-rwx {path}",
            )
        return path.read_bytes()
    except (OSError, ValueError) as err:  # ValueError: a NUL in the path
        reason = getattr(err, "strerror", None) or err
        raise UsageError(
            f"cannot read the web configuration {path}: {reason}",
            hint="check --web.config.file and the file's permissions",
        ) from err


def _parse(path: Path) -> WebSpec:
    problems = Problems()
    document = read_document(str(path), _read(path), problems)
    spec = _checked(document, problems) if document else WebSpec()
    problems.raise_if_any()
    return spec


def _checked(document: Document, problems: Problems) -> WebSpec:
    if report_shape(document, problems, WebSpec):
        return WebSpec()
    spec = convert(document.data, WebSpec)

    def wrong(message: str, *path: str | int) -> None:
        problems.add(document.name, document.place(path), message)

    if spec.tls_server_config:
        for message, *below in _tls_problems(spec.tls_server_config, problems):
            wrong(str(message), "tls_server_config", *below)
    for name, word in spec.basic_auth_users.items():
        if message := _hash_problem(word):
            wrong(message, "basic_auth_users", name)
        if ":" in name or not name:
            wrong("a user name is not empty and has no `:`", "basic_auth_users", name)
    for name, value in _headers(spec.http_server_config.headers):
        if not _HEADER_TEXT.fullmatch(value):
            wrong("a header is printable ASCII", "http_server_config", "headers", name)
    return spec


def _headers(spec: HeadersSpec) -> list[tuple[str, str]]:
    return [(name.replace("_", "-"), value) for name, value in asdict(spec).items()]


def _hash_problem(word: str) -> str:
    found = _HASH.fullmatch(word)
    if not found:
        return "this is no bcrypt hash: make one with `htpasswd -nBC 10 USER`"
    cost = int(found[1])
    if not 4 <= cost <= MAX_COST:
        return f"bcrypt cost {cost} is not between 4 and {MAX_COST}: each step doubles its time"
    return ""


def _tls_problems(tls: TlsSpec, problems: Problems) -> list[tuple[str | int, ...]]:
    """Message and place below `tls_server_config` of what fits the shape and cannot be."""
    found: list[tuple[str | int, ...]] = []
    kind = tls.client_auth_type
    if kind in _UNVERIFIED:
        what = f"{quote(kind)} takes a certificate that anybody can make; portwatch verifies: "
        found.append((what + "use `RequireAndVerifyClientCert`", "client_auth_type"))
    elif kind in _VERIFIED and not tls.client_ca_file:
        found.append((f"{quote(kind)} needs `client_ca_file`", "client_auth_type"))
    elif tls.client_ca_file and kind not in _VERIFIED:
        what = "`client_ca_file` verifies nobody without `client_auth_type`: "
        found.append((what + "use `RequireAndVerifyClientCert`", "client_ca_file"))
    if tls.client_allowed_sans and kind != "RequireAndVerifyClientCert":
        what = "`client_allowed_sans` needs `client_auth_type: RequireAndVerifyClientCert`"
        found.append((what, "client_allowed_sans"))
    for key, version in (("min_version", tls.min_version), ("max_version", tls.max_version)):
        if version in ("TLS10", "TLS11"):
            found.append((f"{quote(version)} is broken (RFC 8996): use TLS12 or TLS13", key))
    if tls.min_version > tls.max_version:
        found.append(("`min_version` is above `max_version`", "min_version"))
    for known, key, words in (
        (CIPHERS, "cipher_suites", tls.cipher_suites),
        (CURVES, "curve_preferences", tls.curve_preferences),
    ):
        for number, word in enumerate(words):
            if word not in known:
                meant = problems.did_you_mean(word, known) or f"; known here: {', '.join(known)}"
                found.append((f"unknown word {quote(word)}{meant}", key, number))
    if len(tls.curve_preferences) > 1:
        what = "one curve can be set here, or none for all that OpenSSL has by default"
        found.append((what, "curve_preferences", 1))
    return found
