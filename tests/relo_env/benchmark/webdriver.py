"""The few WebDriver calls that the report's test needs, over plain HTTP."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path

CAPABILITIES = {
    "browserName": "chrome",
    "goog:chromeOptions": {
        "args": ["--headless=new", "--no-sandbox", "--disable-gpu"],
        # A desktop window is never narrower than 500 px.
        "mobileEmulation": {"deviceMetrics": {"width": 390, "height": 844, "pixelRatio": 2}},
    },
    "goog:loggingPrefs": {"browser": "ALL"},
}


class Browser(AbstractContextManager):
    """Headless Chromium behind a chromedriver of its own."""

    def __init__(self, driver: str, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                self._call("GET", "/status")
                break
            except urllib.error.URLError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": CAPABILITIES}})
        self._url += f"/session/{session['sessionId']}"

    def __exit__(self, *exception: object) -> None:
        self._call("DELETE", "")
        self._process.terminate()
        self._process.wait()

    def _call(self, method: str, path: str, body: dict | None = None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, page: Path) -> None:
        self._call("POST", "/url", {"url": page.as_uri()})

    def run(self, script: str):
        """Value of a function's body in the page."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def console(self) -> list[dict]:
        return self._call("POST", "/se/log", {"type": "browser"})
