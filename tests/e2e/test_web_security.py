"""`--web.config.file` at work: TLS, client certificates, users, and files that change."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import sys
import threading
from base64 import b64encode
from pathlib import Path

import bcrypt
import pytest
from certificates import self_signed, signed_by
from product import AgentProcess, eventually, run_command
from sandbox import Sandbox, denying
from web_clients import SlowCrowd, address_of, resident_kib

MISSING = "cannot read the certificate"


class Secure:
    """An agent that serves by TLS with a self-signed certificate, and clients of it."""

    def __init__(self, shared: Sandbox, more: str = "", rest: str = "") -> None:
        self.folder = shared.folder
        self.certificate, self.key = self_signed(self.folder, "server")
        self.config = self.folder / "web.yml"
        self.write(more, rest)
        policy = shared.policy(denying(9001))
        self.agent = shared.agent(policy, "--keep", "--web.config.file", self.config)
        assert self.agent.url.startswith("https://")

    def write(self, more: str = "", rest: str = "") -> None:
        """The configuration file: more for TLS, and what stands below."""
        tls = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
        self.config.write_text(tls + more + rest)

    def connect(self, client: tuple[Path, Path] | None = None) -> http.client.HTTPSConnection:
        """A connection that trusts what server.pem is now."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if client:
            context.load_cert_chain(*client)
        return http.client.HTTPSConnection(*address_of(self.agent.url), timeout=10, context=context)

    def get(
        self, path: str, client: tuple[Path, Path] | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body."""
        with contextlib.closing(self.connect(client)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()


def basic(user: str, password: str) -> str:
    """The header of these credentials."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def test_certificates_change_under_load(shared: Sandbox) -> None:
    """A new certificate is shown to the next connection, one that is kept alive goes on, one
    that is missing changes nothing and is told once and in a metric."""
    web = Secure(shared)
    kept = web.connect()
    stop, failures = threading.Event(), []

    def scrape_on() -> None:
        try:
            while not stop.is_set():
                kept.request("GET", "/healthz")
                assert kept.getresponse().read() == b"alive\n"
        except Exception as err:  # told to the test, in its thread
            failures.append(err)

    thread = threading.Thread(target=scrape_on)
    thread.start()
    first = ssl.get_server_certificate(address_of(web.agent.url))
    for _ in range(3):
        self_signed(web.folder, "server")
        assert web.get("/healthz") == (200, b"alive\n")
    assert ssl.get_server_certificate(address_of(web.agent.url)) != first
    good = web.certificate.read_bytes()
    (web.folder / "server.pem").unlink()
    web.certificate = web.folder / "trusted.pem"
    web.certificate.write_bytes(good)
    for _ in range(3):
        assert b"portwatch_web_config_last_load_successful 0.0\n" in web.get("/metrics")[1]
    eventually(lambda: MISSING in web.agent.log, what="it is told")
    assert web.agent.log.count(MISSING) == 1
    (web.folder / "server.pem").write_bytes(good)
    assert b"portwatch_web_config_last_load_successful 1.0\n" in web.get("/metrics")[1]
    stop.set()
    thread.join()
    kept.close()
    assert not failures


def test_client_certificates(shared: Sandbox) -> None:
    """Only a client whose certificate is by the CA and has an allowed name is served."""
    authority = self_signed(shared.folder, "ca", "DNS:ca")
    stranger = self_signed(shared.folder, "stranger", "DNS:scraper")
    known = signed_by(authority, shared.folder, "known", "DNS:scraper")
    by_address = signed_by(authority, shared.folder, "address", "IP:2001:db8::1")
    other = signed_by(authority, shared.folder, "other", "DNS:scraper.evil")
    web = Secure(
        shared,
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
        '  client_allowed_sans: [scraper, "2001:db8::1"]\n',
    )
    for client in (known, by_address):
        assert web.get("/healthz", client) == (200, b"alive\n")
    for client in (None, stranger, other):
        with pytest.raises((OSError, http.client.HTTPException)):
            web.get("/healthz", client)


def test_users(shared: Sandbox) -> None:
    """With users every page needs a good password; guesses do not keep a known scraper waiting;
    users who come and go do so at once."""
    words = {one: bcrypt.hashpw(one.encode(), bcrypt.gensalt(6)).decode() for one in ("ann", "bo")}
    web = Secure(shared, rest=f"basic_auth_users:\n  ann: {words['ann']}\n")
    good = basic("ann", "ann")
    for path in ("/", "/metrics", "/healthz", "/readyz", "/nothing"):
        assert web.get(path)[0] == 401
        assert web.get(path, Authorization=good)[0] == (404 if path == "/nothing" else 200)
    bad = (basic("ann", "ANN"), basic("bo", "bo"), basic("", ""), "Basic %%%", "Bearer x")
    for header in bad:
        assert web.get("/metrics", Authorization=header)[0] == 401, header
    with contextlib.ExitStack() as stack:
        for number in range(40):
            guess = stack.enter_context(contextlib.closing(web.connect()))
            guess.request("GET", "/", headers={"Authorization": basic("ann", str(number))})
        assert web.get("/metrics", Authorization=good)[0] == 200
    web.write(rest=f"basic_auth_users:\n  bo: {words['bo']}\n")
    assert web.get("/metrics", Authorization=good)[0] in (401, 503)  # 503: guesses wait

    def is_let_in() -> bool:
        return web.get("/metrics", Authorization=basic("bo", "bo"))[0] == 200

    eventually(is_let_in, 30, "the guesses have been judged")
    assert web.agent.end() == 0
    assert "Traceback" not in web.agent.log


def test_handshakes_that_never_end(shared: Sandbox) -> None:
    """With 500 clients that begin TLS and stop, or send none at all, a scrape succeeds and memory
    is bounded."""
    web = Secure(shared, rest="http_server_config: {headers: {X-Frame-Options: deny}}\n")
    web.get("/metrics")
    before = resident_kib(web.agent)
    for begin in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n\r\n"):
        with SlowCrowd(web.agent, 500, begin, b"\0"):
            for _ in range(3):
                assert web.get("/metrics")[0] == 200
            grown = resident_kib(web.agent) - before
            print(f"handshakes: {grown} KiB")
            assert grown < 8 << 10
    with contextlib.closing(web.connect()) as connection:
        connection.request("GET", "/")
        assert connection.getresponse().headers["X-Frame-Options"] == "deny"


def test_bad_configuration_ends_run(shared: Sandbox) -> None:
    """`run` with a mistake in the file ends with status 2, the place, and nothing done."""
    config = shared.folder / "web.yml"
    config.write_text("basic_auth_user: {}\n")
    options = shared.run_options(shared.policy(denying(9001)), "--web.config.file", config)
    agent = AgentProcess(options, shared.path)
    assert agent.wait() == 2
    agent.close()
    assert f"{config}:1:1: unknown key `basic_auth_user`; did you mean" in agent.log
    assert "portwatch: 1 error in the web configuration" in agent.log


PASS_SOCKET = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_socket_of_systemd(shared: Sandbox) -> None:
    """A passed socket is served on, and `--web.systemd-socket` without one is an error."""
    policy = shared.policy(denying(9001))
    before = [sys.executable, "-c", PASS_SOCKET]
    agent = shared.agent(policy, "--keep", "--web.systemd-socket", before=before)
    assert agent.page("/healthz")[0] == b"alive\n"
    assert os.readlink(f"/proc/{agent.pid}/fd/3").startswith("socket:")
    assert agent.end() == 0
    done = shared.run("run", "--policy", policy, "--web.systemd-socket")
    assert done.returncode == 2
    assert "systemd has passed no sockets" in done.stderr


def test_several_addresses(shared: Sandbox) -> None:
    """Each `--listen` is served, by curl's word too, and all are given back where one is taken."""
    policy = shared.policy(denying(9001))
    listens = ["--listen", "127.0.0.1:0", "--web.listen-address", "[::1]:0"]
    agent = shared.agent(policy, "--keep", *listens)
    urls = [word for word in agent.log.replace(";", " ").split() if word.startswith("http://")]
    assert len(urls) == 2
    for url in urls:
        assert "portwatch_enforcing 1.0" in run_command(["curl", "-s", url]).stdout
    taken = socket.create_server(("127.0.0.1", 0))
    with contextlib.closing(taken):
        assert agent.end() == 0
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        options = shared.run_options(policy, "--keep", "--listen", "[::1]:0", "--listen", address)
        second = AgentProcess(options, shared.path)
        assert second.wait(30) == 2
        second.close()
        assert f"cannot serve on {address}: Address already in use" in second.log
