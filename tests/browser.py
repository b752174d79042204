"""A real Chromium, driven over its own DevTools protocol: no driver to install, nothing to download."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tornado.websocket import websocket_connect  # comes with Jupyter

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECONDS = 240  # generous: other tests share the cores
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38, "Enter": 13, " ": 32, "Tab": 9, "Home": 36, "End": 35}


class Browser:
    """One window. Since the last `open`: `errors` that were logged, `requests` that were made, `received` bytes over the network."""

    def __init__(self, folder: Path) -> None:
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--disable-extensions", f"--user-data-dir={folder}", "about:blank"]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.loop = asyncio.new_event_loop()
        self.number = 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.received = 0
        self.events: list[dict] = []
        port = self._port(folder / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=SECONDS) as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        self.socket = self.loop.run_until_complete(self._connect(page["webSocketDebuggerUrl"]))
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _port(self, file: Path) -> str:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if file.exists() and (lines := file.read_text().splitlines()):
                return lines[0]
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.process.kill()
        pytest.skip("Chromium does not start on this machine")

    async def _connect(self, url: str):
        return await websocket_connect(url, max_message_size=2**28)

    async def _send(self, message: dict) -> None:
        await self.socket.write_message(json.dumps(message))

    async def _receive(self) -> str | None:
        return await asyncio.wait_for(self.socket.read_message(), SECONDS)

    def call(self, method: str, **parameters: Any) -> dict:
        """Send one command and return its result; what the page says meanwhile is noted."""
        self.number += 1
        self.loop.run_until_complete(self._send({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = self._read()
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]

    def _read(self) -> dict:
        text = self.loop.run_until_complete(self._receive())
        assert text is not None, "Chromium closed the connection"
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, told: dict) -> None:
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.errors.append(" ".join(str(argument.get("value", argument.get("description"))) for argument in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Network.loadingFinished":
            self.received += int(told["encodedDataLength"])

    def open(self, page: Path | str, *, width: int = 1200, height: int = 900) -> None:
        """Load a page, wait until it has loaded, and forget what earlier pages said."""
        self.errors.clear()
        self.requests.clear()
        self.received = 0
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=page.as_uri() if isinstance(page, Path) else page)
        deadline = time.monotonic() + SECONDS
        while self.evaluate("document.readyState") != "complete" or self.evaluate("location.href") == "about:blank":
            assert time.monotonic() < deadline, f"{page} did not load"
            time.sleep(0.02)

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")

    def click(self, selector: str, number: int = 0) -> None:
        """A real click in the middle of an element, scrolled into view first."""
        found = f"document.querySelectorAll({json.dumps(selector)})[{number}]"
        place = self.evaluate(
            f"(() => {{ const e = {found}; e.scrollIntoView({{block: 'center', behavior: 'instant'}}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def press(self, key: str, times: int = 1) -> None:
        """Real key strokes on what has the focus."""
        for _ in range(times):
            text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
            for kind in ("keyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key, code="Space" if key == " " else key, windowsVirtualKeyCode=KEYS[key],
                          **(text if kind == "keyDown" else {}))  # fmt: skip

    def focus(self, selector: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")

    def foreign_requests(self) -> list[str]:
        """What was asked for besides local files and data inside the page."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "about:", "blob:"))]

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG; for looking at, no test compares pictures."""
        width, height = self.evaluate("[innerWidth, Math.min(document.documentElement.scrollHeight, 16000)]")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        picture = self.call("Page.captureScreenshot")["data"]
        path.write_bytes(base64.b64decode(picture))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(SECONDS)
        self.loop.close()


@pytest.fixture(scope="session")
def browser():
    """Chromium for all tests of a process; they skip where none is installed."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; install it (Debian: apt install chromium) to test the pages")
    with tempfile.TemporaryDirectory(prefix="xai-browser-", ignore_cleanup_errors=True) as folder:
        made = Browser(Path(folder))
        yield made
        made.close()
