"""An agent behind TLS and a password, and what a scraper of it has to know."""

from __future__ import annotations

import base64
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import yaml
from certificates import self_signed

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
    """A certificate for 127.0.0.1 and the web configuration that names it, with one user."""
    certificate, key = self_signed(folder, "agent")
    settings = {
        "tls_server_config": {"cert_file": certificate.name, "key_file": key.name},
        "basic_auth_users": {USER: bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()},
    }
    config = folder / "web.yaml"
    config.write_text(yaml.safe_dump(settings))
    return Secured(config, certificate)
