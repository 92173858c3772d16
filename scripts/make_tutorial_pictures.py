"""Draw the pictures of docs/tutorial.md: the parts of a report page, as Chromium shows them.

spark-imgdedup run photos
python scripts/make_tutorial_pictures.py photos-dedup/work/report/index.html

scripts/install_browser.sh brings the browser.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1200, 900
# The pictures are this wide, in pixels.
SHOWN_WIDTH = 900
# Steps of the slider from the eps of the run to the one that the picture shows.
STEPS_LEFT = 5


def main() -> None:
    """Open the page, and keep what it shows of each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="index.html of a run")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="folder of the pictures")
    arguments = parser.parse_args()
    browser = start_browser()
    try:
        browser.get(arguments.page.resolve().as_uri())
        for part in ("overview", "groups", "pairs"):
            save(browser, part, arguments.out)
        slider = browser.find_element(By.ID, "level")
        for _ in range(STEPS_LEFT):
            slider.send_keys(Keys.ARROW_LEFT)
        save(browser, "eps", arguments.out)
    finally:
        browser.quit()


def start_browser() -> webdriver.Chrome:
    """A headless Chromium."""
    options = Options()
    options.binary_location = os.environ.get("CHROMIUM") or shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}"):
        options.add_argument(argument)
    driver = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
    return webdriver.Chrome(options=options, service=Service(driver))


def save(browser: webdriver.Chrome, part: str, folder: Path) -> None:
    """What a window shows with a part of the page at its top, as tutorial-<part>.webp."""
    browser.execute_script(
        "document.documentElement.style.scrollBehavior = 'auto';document.getElementById(arguments[0]).scrollIntoView()",
        part,
    )
    drawn = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    drawn.thumbnail((SHOWN_WIDTH, drawn.height))
    drawn.save(folder / f"tutorial-{part}.webp", quality=80, method=6)


if __name__ == "__main__":
    main()
