"""A page in headless Chromium, as a person sees it: without a network, with whatever it complains about."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

# Where screenshots go, for people to look at; nowhere unless it is set.
SHOTS = os.environ.get("BROWSER_SHOTS")
# A window as wide as a laptop's.
WIDTH, HEIGHT = 1360, 1000


def start_browser():
    """A browser that logs what pages ask for and complain about."""
    options = Options()
    options.binary_location = os.environ.get("CHROMIUM") or shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={WIDTH},{HEIGHT}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
    return webdriver.Chrome(options=options, service=Service(driver))


class Opened:
    """A page that a browser has opened.

    Args:
        browser: From `start_browser`.
        path: The page's file.
    """

    def __init__(self, browser, path):
        self.browser = browser
        browser.get_log("browser")
        browser.get_log("performance")
        browser.get(Path(path).resolve().as_uri())
        browser.execute_script("document.documentElement.style.scrollBehavior = 'auto'")

    def text(self, id_):
        return self.browser.find_element(By.ID, id_).text

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def press(self, *keys):
        """Keys for whatever has the focus."""
        for key in keys:
            ActionChains(self.browser).send_keys(key).perform()

    def complaints(self):
        """What the console says."""
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def requests(self):
        """Addresses that the page asked for, pictures within it aside."""
        events = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]

    def show(self, scheme):
        """Light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def shoot(self, name, section):
        """A screenshot of a section, where they are asked for."""
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.run("document.getElementById(arguments[0]).scrollIntoView()", section)
            self.browser.save_screenshot(str(Path(SHOTS) / f"{name}.png"))
