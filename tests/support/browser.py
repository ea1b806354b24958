"""A real Chromium without a window, driven by Selenium; the servers it looks at are in ``tests.support.serving``.

Debian's packages are used as they are: ``apt-get install chromium chromium-driver``. Nothing is downloaded. Without
them the tests are skipped, unless ``PGCORPUS_TEST_BROWSER=required``. Screenshots go to ``PGCORPUS_TEST_ARTEFACTS``, by
default ``.artefacts/`` of the checkout.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

# Read here: the fixture `clean_environment` hides them from the tests.
REQUIRED = os.environ.get("PGCORPUS_TEST_BROWSER") == "required"
ARTEFACTS = Path(os.environ.get("PGCORPUS_TEST_ARTEFACTS") or Path(__file__).parents[2] / ".artefacts")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DRIVERS = ("chromedriver", "chromium.chromedriver", "chromium-driver")

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # root has none
    "--disable-dev-shm-usage",  # a container's /dev/shm is small
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-breakpad",
    "--force-device-scale-factor=1",
)
WIDTH, HEIGHT = 1200, 900


class Browser:
    """One page of a browser, and what it said and asked for.

    Attributes:
        driver: Selenium's driver.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self._console: list[dict[str, Any]] = []
        self._requests: list[str] = []

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.driver.get(url)

    def find(self, css: str) -> Any:
        """Return the first element that a CSS selector finds; it is an error if there is none."""
        return self.driver.find_element("css selector", css)

    def find_all(self, css: str) -> list[Any]:
        """Return the elements that a CSS selector finds."""
        return list(self.driver.find_elements("css selector", css))

    def text(self, css: str = "body") -> str:
        """Return the text that a reader sees in an element."""
        return str(self.find(css).text)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page, and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def cdp(self, command: str, **parameters: Any) -> Any:
        """Send a command of the Chrome DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, parameters)

    def color_scheme(self, scheme: str) -> None:
        """Let the page see ``prefers-color-scheme: light`` or ``dark``; an empty one stands for the default."""
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def viewport(self, width: int = WIDTH, height: int = HEIGHT, *, mobile: bool = False) -> None:
        """Give the page a size in CSS pixels: a phone is ``viewport(360, 740, mobile=True)``."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    @property
    def overflows(self) -> bool:
        """Whether the page is wider than its window, so that a reader has to scroll sideways."""
        return bool(self.run("const page = document.documentElement; return page.scrollWidth > page.clientWidth"))

    def console(self) -> list[str]:
        """Return what the console was told since the test began: errors of scripts, CSP and loading too."""
        self._console += self.driver.get_log("browser")
        return [f"{entry['level']}: {entry['message']}" for entry in self._console]

    def requests(self) -> list[str]:
        """Return the URLs that were asked for since the test began, in order."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        self._requests += [each["request"]["url"] for each in sent]
        return list(self._requests)

    def screenshot(self, name: str, *, whole: bool = True) -> Path:
        """Keep a picture of the page among the artefacts.

        Args:
            name: The file's, without ``.png``.
            whole: All of the page, or what the window shows.
        """
        picture = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTEFACTS / f"{name}.png"
        path.write_bytes(base64.b64decode(picture))
        return path

    def forget(self) -> None:
        """Be a browser that was never anywhere: one window, no cookies, no storage, no emulation."""
        origins = {"{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in self.requests() if url.startswith("http")}
        first, *others = self.driver.window_handles
        for handle in others:
            self.driver.switch_to.window(handle)
            self.driver.close()
        self.driver.switch_to.window(first)
        self.driver.get("about:blank")
        for origin in origins:
            self.cdp("Storage.clearDataForOrigin", origin=origin, storageTypes="all")
        self.cdp("Network.clearBrowserCookies")
        self.cdp("Network.clearBrowserCache")
        self.color_scheme("")
        self.viewport()
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self._console, self._requests = [], []


@pytest.fixture(scope="session")
def running_browser() -> Iterator[Browser]:
    """The browser of this process; tests take ``browser``."""
    binary, driver = _first(BROWSERS), _first(DRIVERS)
    if not binary or not driver:
        _missing()
    # What a dying browser still writes must not fail a test.
    home = tempfile.TemporaryDirectory(prefix="pgcorpus-browser-", ignore_cleanup_errors=True)
    with home, _driving(binary, driver, home.name) as driving:
        yield Browser(driving)


@pytest.fixture
def browser(running_browser: Browser) -> Browser:
    """A browser that was never anywhere."""
    running_browser.forget()
    return running_browser


@contextmanager
def _driving(binary: str, driver: str, home: str) -> Iterator[Any]:
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={home}/profile", f"--window-size={WIDTH},{HEIGHT}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # A home of its own: an account that runs tests may have none it can write to.
    service = Service(driver, log_output=subprocess.DEVNULL, env=os.environ | {"HOME": home, "TMPDIR": home})
    chrome = Chrome(options, service)
    try:
        yield chrome
    finally:
        chrome.quit()


def _first(names: tuple[str, ...]) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)


def _missing() -> NoReturn:
    say = "no Chromium with its driver: apt-get install chromium chromium-driver"
    if REQUIRED:
        pytest.fail(f"PGCORPUS_TEST_BROWSER=required, but there is {say}")
    pytest.skip(f"there is {say}")
