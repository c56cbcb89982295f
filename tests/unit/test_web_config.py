"""Web configuration files: exporter-toolkit's format, every mistake at its place."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from portwatch.agent.web.config.file import load_web_config
from portwatch.agent.web.config.following import FollowedConfig
from portwatch.errors import PortwatchError, UsageError, WebConfigError

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
TLS = "tls_server_config:\n  cert_file: tls.pem\n  key_file: tls.key\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a certificate and its key."""
    make_certificate(tmp_path)
    return tmp_path


def make_certificate(folder: Path) -> None:
    """tls.pem and tls.key, new."""
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x"
    )
    names = ["-out", str(folder / "tls.pem"), "-keyout", str(folder / "tls.key")]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)


def write(folder: Path, text: str) -> Path:
    """The configuration file."""
    path = folder / "web.yml"
    path.write_text(text)
    return path


def test_all_that_the_format_has(folder: Path) -> None:
    """Each key of the format is understood, and paths are relative to the file."""
    text = (
        TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: tls.pem\n"
        "  client_allowed_sans: [scraper.example, 10.0.0.1]\n"
        "  min_version: TLS12\n  max_version: TLS12\n"
        "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n"
        "  curve_preferences: [CurveP256]\n  prefer_server_cipher_suites: false\n"
        "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n"
        '    X-XSS-Protection: ""\n'
        f"basic_auth_users:\n  alice: {HASH}\n"
    )
    config = load_web_config(write(folder, text))
    assert config.tls
    assert config.tls.verify_mode is ssl.CERT_REQUIRED
    assert config.tls.maximum_version is ssl.TLSVersion.TLSv1_2
    older = [one["name"] for one in config.tls.get_ciphers() if one["protocol"] != "TLSv1.3"]
    assert older == ["ECDHE-ECDSA-AES128-GCM-SHA256"]
    assert not config.tls.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert config.headers == (("X-Frame-Options", "deny"),)
    assert config.users == {"alice": HASH.encode()}
    assert config.allowed_sans == {"scraper.example", "10.0.0.1"}
    assert config.files == tuple(
        folder / one for one in ("web.yml", "tls.pem", "tls.key", "tls.pem")
    )


def test_only_suites_of_tls_1_3_leave_nothing_older(folder: Path) -> None:
    """A list without a suite of TLS 1.2 does not fall back to OpenSSL's own."""
    config = load_web_config(write(folder, TLS + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"))
    assert config.tls
    assert config.tls.minimum_version is ssl.TLSVersion.TLSv1_3


BAD = {
    "tls_server_confg: {}": "1:1: unknown key `tls_server_confg`; did you mean `tls_server_c",
    TLS + "  cert: x": "4:3: unknown key `cert`; did you mean `cert_file`?",
    "tls_server_config: {cert_file: tls.pem}": "1:20: `key_file` is missing",
    TLS + "  min_version: TLS14": "4:16: unknown min_version `TLS14`; did you mean `TLS1",
    TLS + "  min_version: TLS11": "4:16: `TLS11` is broken (RFC 8996)",
    TLS + "  min_version: TLS13\n  max_version: TLS12": "4:16: `min_version` is above",
    TLS + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]": "4:19: unknown word",
    TLS
    + "  curve_preferences: [CurveP265]": "4:23: unknown word `CurveP265`; did you mean `CurveP",
    TLS + "  curve_preferences: [X25519, CurveP256]": "4:31: one curve can be set",
    TLS + "  prefer_server_cipher_suites: 1": "must be true or false, not `1`",
    TLS + "  client_auth_type: RequireAnyClientCert": "4:21: `RequireAnyClientCert` takes a",
    TLS
    + "  client_auth_type: VerifyClientCertIfGiven": "4:21: `VerifyClientCertIfGiven` needs `cl",
    TLS + "  client_ca_file: tls.pem": "4:19: `client_ca_file` verifies nobody",
    TLS + "  client_allowed_sans: [a]": "4:24: `client_allowed_sans` needs",
    "http_server_config: {headers: {X-Powered-By: me}}": "1:32: unknown key `X-Powered-By`",
    "http_server_config: {headers: {X-Frame-Options: no}}": "unknown X-Frame-Options `no`",
    'http_server_config: {headers: {X-XSS-Protection: "a\\nb"}}': "is printable ASCII",
    "basic_auth_users: {alice: secret}": "1:27: this is no bcrypt hash: make one with `htpasswd",
    f"basic_auth_users: {{alice: {HASH.replace('10', '18', 1)}}}": "1:27: bcrypt cost 18 is not",
    f'basic_auth_users: {{"a:b": {HASH}}}': "a user name is not empty and has no `:`",
    "basic_auth_users:": "1:1: `basic_auth_users` has no value",
    "- a": "1:1:",
    "": "1:1: the file is empty",
}


@pytest.mark.parametrize("text", BAD)
def test_mistakes_have_their_place(folder: Path, text: str) -> None:
    """A mistake is told with line, column and, where there is one, the nearest word."""
    with pytest.raises(WebConfigError) as refused:
        load_web_config(write(folder, text))
    assert BAD[text] in str(refused.value)


def test_files_that_cannot_be_used(folder: Path) -> None:
    """A missing, foreign, encrypted or public key, and no certificate, are each told by name."""
    path = write(folder, TLS)
    key, certificate = folder / "tls.key", folder / "tls.pem"

    def message() -> str:
        with pytest.raises(UsageError) as refused:
            load_web_config(path)
        return str(refused.value)

    key.chmod(0o644)
    assert "is open to every user of this machine\n  hint: chmod o-rwx" in message()
    key.chmod(0o640)
    good = key.read_bytes()
    command = ["openssl", "pkcs8", "-topk8", "-passout", "pass:x", "-in", str(key)]
    key.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    assert "is encrypted" in message()
    key.write_bytes(good)
    assert load_web_config(path).tls
    certificate.write_text("nothing")
    assert f"cannot use the certificate {certificate}" in message()
    make_certificate(folder)
    key.write_bytes(good)
    assert "key values mismatch" in message()
    key.unlink()
    assert f"cannot read the key {key}: No such file" in message()
    path.chmod(0o666)
    assert "can be written by every user" in message()


def test_changed_files_are_read_and_broken_ones_are_not(folder: Path) -> None:
    """What is broken now leaves in force what was good, until it is good again."""
    followed = FollowedConfig(write(folder, TLS))
    first = followed.current()
    assert followed.current() is first
    write(folder, TLS + "  nonsense: 1\n")
    assert followed.current() is first
    assert not followed.successful
    write(folder, TLS + "http_server_config: {headers: {X-Frame-Options: deny}}\n")
    assert followed.current().headers == (("X-Frame-Options", "deny"),)
    assert followed.successful
    second = followed.current()
    make_certificate(folder)
    assert followed.current().tls is not second.tls
    write(folder, "http_server_config: {}\n")
    assert followed.current().tls, "TLS ends only with the agent"
    assert not followed.successful


def test_paths_that_are_no_files(folder: Path) -> None:
    """No file, a directory or a NUL is one error, not a traceback."""
    for path in (folder / "none.yml", folder, Path("a\0b")):
        with pytest.raises(PortwatchError, match="cannot read the web configuration"):
            load_web_config(path)
