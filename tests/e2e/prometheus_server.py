"""A real Prometheus on loopback, with data of its own, asked by its HTTP API."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from committed_queries import RULES, SCRAPE_CONFIG
from product import eventually

LISTENING = re.compile(r'msg="Listening on" address=(\S+)')
START_SECONDS = 30
SCRAPE_SECONDS = 20

Labels = frozenset[tuple[str, str]]


def secured_config(folder: Path, target: str, ca: Path, password: str) -> dict[str, Any]:
    """The committed example, rules included, with one target and everything each second; what it
    reads is put into `folder`."""
    config: dict[str, Any] = yaml.safe_load(SCRAPE_CONFIG.read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    shutil.copy(RULES, folder)
    shutil.copy(ca, folder / job["tls_config"]["ca_file"])
    (folder / job["basic_auth"]["password_file"]).write_text(password)
    return config


class PrometheusServer:
    """Runs with its files in `folder`."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        path = folder / "prometheus.yaml"
        path.write_text(yaml.safe_dump(config))
        self._log = ""
        self._process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={path}"),
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            ready = "ready to receive web requests"
            eventually(lambda: ready in self._log, START_SECONDS, "Prometheus is ready")
            found = LISTENING.search(self._log)
            assert found, self._log
        except BaseException:
            self.close()
            raise
        self._url = f"http://{found[1]}/api/v1/"

    def ask(self, path: str, **parameters: Any) -> Any:
        """The `data` of an answer of its API."""
        url = f"{self._url}{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]

    def query(self, text: str, at: float | None = None) -> dict[Labels, float]:
        """An instant query's values by labels, the name left out."""
        found = self.ask("query", query=text, **({"time": f"{at:.3f}"} if at else {}))
        return {
            frozenset((key, value) for key, value in one["metric"].items() if key != "__name__"):
            float(one["value"][1])
            for one in found["result"]
        }  # fmt: skip

    def scraped(self, rounds: int = 2) -> float:
        """Wait until that many scrapes have begun after now and succeeded: the last one's time."""
        last = time.time()
        for _ in range(rounds):
            last = eventually(lambda after=last: self._scraped_after(after), SCRAPE_SECONDS)
        return last

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)
        self._reader.join(5)
        assert self._process.stderr
        self._process.stderr.close()

    def _scraped_after(self, after: float) -> float | None:
        at = max(self.query("timestamp(portwatch_enforcing)").values(), default=0.0)
        return at if at > after else None

    def _read(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._log += line
