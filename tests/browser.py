"""A Chromium that is on the machine, driven over its DevTools protocol: for what only a browser can show.

No driver is downloaded: `websocket-client`, which JupyterLab brings, speaks the protocol.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PROGRAM = next((found for name in NAMES if (found := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(
    PROGRAM is None,
    reason=f"no browser on this machine (any of {', '.join(NAMES)}; Debian: apt install chromium)",
)


class Browser:
    """One page of a headless Chromium; a context manager.

    Parameters
    ----------
    folder : for its profile, deleted by the caller.
    width, height : of the window in CSS pixels.
    """

    def __init__(self, folder: Path, width: int = 1280, height: int = 900) -> None:
        self.folder, self.size, self.number = folder, (width, height), 0
        self.errors: list[str] = []

    def __enter__(self) -> Browser:
        import websocket

        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "DevToolsActivePort").unlink(missing_ok=True)  # of a browser before
        self.process = subprocess.Popen(
            [
                str(PROGRAM), "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-extensions", "--disable-background-networking", "--mute-audio",
                "--hide-scrollbars", "--enable-unsafe-swiftshader",
                f"--user-data-dir={self.folder}", "--remote-debugging-port=0",
                f"--window-size={self.size[0]},{self.size[1]}", "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = until(lambda: self._port(), 60, "Chromium did not start")
            pages = until(lambda: self._pages(port), 60, "Chromium has no page")
            self.socket = websocket.create_connection(
                pages[0]["webSocketDebuggerUrl"], timeout=120, suppress_origin=True
            )
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "socket"):
            self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _port(self) -> int | None:
        path = self.folder / "DevToolsActivePort"
        lines = path.read_text().splitlines() if path.is_file() else []
        return int(lines[0]) if lines else None

    def _pages(self, port: int) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=20) as answer:
            return [p for p in json.load(answer) if p["type"] == "page"]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") == "Runtime.exceptionThrown":
                details = message["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description") or details["text"])
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> Any:
        """Until a JavaScript expression is true; its value."""
        asked = f"(() => {{ try {{ return {condition} }} catch {{ return null }} }})()"
        return until(lambda: self.run(asked), seconds, f"never became true: {condition}")

    def key(self, name: str, code: int) -> None:
        """Press and release a key, as the keyboard would; `code` is its Windows virtual key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )

    def picture(self, **clip: float) -> bytes:
        """A screenshot as PNG; of the rectangle ``x``, ``y``, ``width``, ``height`` if given."""
        more = {"clip": {**clip, "scale": 1}} if clip else {}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **more)["data"])


def until(condition: Any, seconds: float, otherwise: str) -> Any:
    """The first true value of `condition`, asked again and again; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(otherwise)
