"""An agent behind TLS and a password, and what a scraper of it has to know."""

from __future__ import annotations

import base64
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import yaml
from product import run_command

USER, PASSWORD = "prometheus", "scrape me"


@dataclass(frozen=True)
class Secured:
    """`config` is for --web.config.file, `ca` for who scrapes."""

    config: Path
    ca: Path

    def page(self, url: str) -> str:
        """What is served there to who knows the password."""
        word = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {word}"})
        context = ssl.create_default_context(cafile=self.ca)
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            text: bytes = answer.read()
        return text.decode()


def secure(folder: Path) -> Secured:
    """A certificate for 127.0.0.1, made by openssl, and the web configuration that names it."""
    certificate, key, config = folder / "agent.pem", folder / "agent.key", folder / "web.yaml"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += [
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=agent",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    done = run_command([*command, "-out", str(certificate), "-keyout", str(key)])
    assert done.returncode == 0, done.stderr
    word = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    settings = {
        "tls_server_config": {"cert_file": certificate.name, "key_file": key.name},
        "basic_auth_users": {USER: word},
    }
    config.write_text(yaml.safe_dump(settings))
    return Secured(config, certificate)
