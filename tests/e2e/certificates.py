"""Certificates for a test, made by openssl; a day old at most."""

from __future__ import annotations

from pathlib import Path

from product import run_command

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1")


def self_signed(folder: Path, name: str, *alternatives: str) -> tuple[Path, Path]:
    """A certificate for localhost (or other alternative names), and its key."""
    return _request(folder, name, alternatives or ("DNS:localhost", "IP:127.0.0.1"))


def signed_by(authority: tuple[Path, Path], folder: Path, name: str, san: str) -> tuple[Path, Path]:
    """A client's certificate with one alternative name, and its key."""
    certificate, key = authority
    return _request(folder, name, (san,), "-CA", str(certificate), "-CAkey", str(key))


def _request(
    folder: Path, name: str, alternatives: tuple[str, ...], *more: str
) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", *more]
    command += ["-addext", f"subjectAltName={','.join(alternatives)}"]
    done = run_command([*command, "-out", str(certificate), "-keyout", str(key)])
    assert done.returncode == 0, done.stderr
    return certificate, key
