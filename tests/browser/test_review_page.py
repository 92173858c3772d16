"""Pairs judged by keyboard in Chromium: nothing is lost, nothing is told, and what was called different stays."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.pipeline import run
from spark_imgdedup.report.page.build import build_review
from spark_imgdedup.report.review.take_in import take_in
from spark_imgdedup.report.review.write import ReviewRequest, write_review
from spark_imgdedup.runs.tables import Tables
from tests.browser.opened import Opened
from tests.browser.test_report_page import CONTRASTS
from tests.flow.test_rules import kept_for, scored, settings
from tests.report.page.pages import SCRIPTS

__all__ = ["scored", "settings"]  # the fixtures

RED = "data:image/gif;base64,R0lGODlhAQABAIAAAP8AAAAAACwAAAAAAQABAAACAkQBADs="
BLUE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAA/wAAACwAAAAAAQABAAACAkQBADs="
BAND = {"name": "cosine 0.9", "kind": "embedding", "low": 0.9, "inside": True, "pairs": 40, "drawn": 4}
DATA = {
    "header": {"page": "made-up", "run": "r", "eps": 0.1, "bands": [BAND | {"same": 0, "different": 0}]},
    "pairs": [
        {"one": f"a{nth}", "other": SCRIPTS[nth], "band": 0, "left": nth % 2, "right": 1 - nth % 2} for nth in range(4)
    ],
    "images": [
        {"name": SCRIPTS[0], "uri": RED, "problem": ""},
        {"name": SCRIPTS[1], "uri": BLUE, "problem": ""},
    ],
}


@pytest.fixture
def made_up(browser, tmp_path):
    path = tmp_path / "review.html"
    path.write_text(build_review("données 日", "Page made-up.", DATA), encoding="utf-8")
    page = Opened(browser, path)
    page.run("localStorage.clear()")
    return Opened(browser, path)


def downloaded(page, folder):
    """The lines of the file that the button gives."""
    folder.mkdir(exist_ok=True)
    about = {"behavior": "allow", "downloadPath": str(folder)}
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", about)
    page.all("#download")[0].click()
    for _ in range(100):
        if found := list(folder.glob("*.jsonl")):
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no file in {folder}: {list(folder.iterdir())}")


def decisions(path):
    header, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return header, {line["one"]: line["decision"] for line in lines}


def test_keys_decide_undo_and_move_and_the_place_outlasts_the_page(browser, made_up, tmp_path):
    page = made_up
    assert (page.text("place"), page.text("decided")) == ("1", "0")
    assert not page.all("#unsaved")[0].is_displayed()

    page.press("s", "d")
    assert (page.text("place"), page.text("decided")) == ("3", "2")
    page.press("z")
    assert (page.text("place"), page.text("decided"), page.text("said")) == ("2", "1", "Undone: pair 2.")
    page.press("u", Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.text("place") == "1"
    assert page.all('[data-decide="same"]')[0].get_attribute("aria-pressed") == "true"
    page.press(Keys.ARROW_RIGHT, "j", "k")
    again = Opened(browser, tmp_path / "review.html")

    assert (again.text("place"), again.text("decided")) == ("2", "2")
    again.press("z", "d", "d", "d")
    assert "All 4 pairs are decided" in again.text("said")
    header, found = decisions(downloaded(again, tmp_path / "down"))
    assert header == DATA["header"]
    assert found == {"a0": "same", "a1": "different", "a2": "different", "a3": "different"}
    again.all("#copy summary")[0].click()
    # That it is open is told in a task of its own, some time after the click.
    copied = WebDriverWait(browser, 20).until(lambda _: again.run("return document.getElementById('lines').value"))
    assert len(copied.splitlines()) == 5
    assert again.complaints() == []
    assert len(again.requests()) == 1


def test_pictures_flip_in_one_place_and_names_are_text_in_light_and_dark(made_up):
    page = made_up
    left, right = page.all("#left")[0], page.all("#right")[0]
    assert (left.get_attribute("src"), right.get_attribute("src")) == (RED, BLUE)
    assert (page.text("left-name"), page.text("right-name")) == SCRIPTS[:2]
    page.press("f")
    assert (left.is_displayed(), right.is_displayed()) == (False, True)
    page.press("f")
    assert (left.is_displayed(), right.is_displayed()) == (True, False)
    page.press(Keys.ESCAPE)
    assert left.is_displayed()
    assert right.is_displayed()
    for scheme in ("light", "dark"):
        page.show(scheme)
        assert page.run(CONTRASTS) == []
        page.shoot(f"review-made-up-{scheme}", "main")
    assert page.complaints() == []


def test_a_browser_that_keeps_nothing_says_so_and_the_page_still_works(browser, made_up, tmp_path):
    block = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked'); } });"
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": block})
    try:
        page = Opened(browser, tmp_path / "review.html")
        assert page.all("#unsaved")[0].is_displayed()
        page.press("s", "d")
        _, found = decisions(downloaded(page, tmp_path / "down"))
        assert found == {"a0": "same", "a1": "different"}
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": added["identifier"]})


def test_a_pair_called_different_in_the_browser_stays_and_is_not_asked_again(browser, spark, settings, tmp_path):
    config = settings(identify={"eps": 0.2}, remove={"unreadable": "drop"})
    summary = run(config, spark)
    before = kept_for(config)
    tables = Tables(None, config)
    # As it is typed, in a process that has no Spark yet.
    command = ["-m", "spark_imgdedup", "review", "--config", "work/config.yaml", "--to", "review"]
    said = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True).stdout
    n = int(re.search(r"(\d+) pairs to judge: review/review.html", said)[1])
    with pytest.raises(ConfigError, match="is there already"):
        write_review(tables, ReviewRequest("review"))

    page = Opened(browser, tmp_path / "review/review.html")
    page.run("localStorage.clear()")
    page = Opened(browser, tmp_path / "review/review.html")
    text = page.run("return document.body.innerText")
    assert f"1 of {n}" in text
    assert not re.search(r"cosine|\beps\b|removed|better|would go|0\.\d", text)
    page.shoot("review", "main")
    data = json.loads(page.run("return document.getElementById('data').textContent"))
    sides = {pair["left"] < pair["right"] for pair in data["pairs"]}
    assert sides == {True, False}
    for pair in data["pairs"]:
        page.press("d" if "s/b-large" in (pair["one"], pair["other"]) else "s")
    file = downloaded(page, tmp_path / "down")
    assert page.complaints() == []
    found = take_in(config, str(file))
    assert sum(found.counts.values()) == n
    assert found.other_run == ()
    assert found.estimates[0].own is not None

    again = run(config, spark)

    after = kept_for(config)
    pairs = {frozenset((pair["one"][2:], pair["other"][2:])) for pair in data["pairs"]}
    different = {pair for pair in pairs if "b-large" in pair}
    assert {frozenset(item) for item in before.items()} & different
    assert not {frozenset(item) for item in after.items()} & different
    assert (again.uncovered, again.different) == (0, len(different))
    assert again.kept > summary.kept
    told = write_review(Tables(None, config), ReviewRequest("second"))
    if (tmp_path / "second/review.html").exists():
        asked = json.loads(re.search(r'id="data">(.*?)</script>', (tmp_path / "second/review.html").read_text())[1])
        new = {frozenset((pair["one"][2:], pair["other"][2:])) for pair in asked["pairs"]}
        assert not new & pairs
    else:
        assert "All of these pairs are decided already" in "\n".join(told)
