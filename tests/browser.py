"""Debian's Chromium without a screen, at any width and in either theme, by selenium."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

# As root in a container, without a graphics card, and without asking Google for anything.
FLAGS = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update"
    " disable-sync hide-scrollbars"
)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in FLAGS.split():
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def show(driver: webdriver.Chrome, page: Path, width: int = 1600, theme: str = "light") -> None:
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    preferred = [{"name": "prefers-color-scheme", "value": theme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
    driver.get(page.as_uri())


def console(driver: webdriver.Chrome) -> list[dict[str, Any]]:
    """What the page complained about since the last call."""
    return driver.get_log("browser")


def accessible(driver: webdriver.Chrome, role: str) -> list[str]:
    """The names that a screen reader has for everything of a role, in the page's order."""
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    found = (node for node in nodes if not node["ignored"] and node["role"]["value"] == role)
    return [node["name"]["value"] for node in found]
