"""The page of the sample shards as a person uses it, in Chromium, against report.json."""

from __future__ import annotations

import json
import re

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from spark_imgdedup.demo import demo_config
from spark_imgdedup.pipeline import run
from spark_imgdedup.report.page.build import MOST_BYTES, build_page
from tests.browser.opened import Opened
from tests.report.page.pages import SCRIPTS, page_of

SECTIONS = ("overview", "eps", "pairs", "groups", "where", "search", "refused", "run")


@pytest.fixture(scope="module")
def work(tmp_path_factory, _session):
    """The work_dir of a run on the sample shards."""
    folder = tmp_path_factory.mktemp("demo")
    run(demo_config(folder), _session)
    return folder / "work"


@pytest.fixture(scope="module")
def report(work):
    return json.loads((work / "report/report.json").read_text())


@pytest.fixture
def page(browser, work):
    return Opened(browser, work / "report/index.html")


def number(text):
    return int(text.replace(",", ""))


def tiles(page, section):
    """The numbers of a section by their labels."""
    found = page.all(f"#{section} .tile")
    return {each.text.split("\n")[0]: each.text.split("\n")[1] for each in found}


def test_the_numbers_on_the_page_are_those_of_report_json(page, report):
    summary = report["summary"]

    shown = tiles(page, "overview")

    names = {"read": "read", "duplicates": "duplicates", "kept": "kept", "groups": "groups", "uncovered": "uncovered"}
    assert {name: number(shown[name]) for name in names} == {name: summary[key] for name, key in names.items()}
    assert "adds up" in page.all("#overview .equation")[0].text
    found_by = [number(cell.text) for cell in page.all("#overview tbody td:nth-child(3)")]
    assert sorted(found_by) == sorted(report["breakdowns"]["found_by"].values())
    assert tiles(page, "search")["clusters"] == f"{summary['clusters']:,}"
    (formats,) = (each for each in page.all("#where table") if each.text.startswith("By format"))
    for row in report["breakdowns"]["sizes"]["by_format"]["rows"]:
        value = "(none)" if row["value"] is None else row["value"]
        assert f"{value} {row['samples_before']:,} {row['samples_after']:,} " in formats.text


def test_the_slider_begins_at_the_runs_eps_and_moves_by_keys(page, report):
    summary = report["summary"]
    slider = page.all("#level")[0]
    levels = json.loads(page.run("return document.getElementById('levels').textContent"))["levels"]
    copies = report["breakdowns"]["found_by"]["exact"]

    assert float(page.text("at-eps")) == summary["eps"]
    assert number(page.text("at-removed")) + copies == summary["duplicates"]
    assert number(page.text("at-groups")) <= summary["groups"]
    slider.send_keys(Keys.HOME)
    for level in levels:
        assert float(page.text("at-eps")) == level["eps"]
        expected = "not searched" if level["removed"] is None else f"{level['removed']:,}"
        assert page.text("at-removed") == expected
        assert page.text("at-near") == f"{level['near']:,}"
        assert page.all("#cursor")[0].get_attribute("x1") == f"{level['x']:g}"
        slider.send_keys(Keys.ARROW_RIGHT)
    page.all("#own")[0].click()
    assert float(page.text("at-eps")) == summary["eps"]


def test_pairs_lie_on_both_sides_of_eps_and_are_walked_by_keys(page):
    chips = page.all('[role="tab"]')
    sides = [side for chip in chips for side in ("inside", "outside") if side in chip.get_attribute("class").split()]
    assert set(sides) == {"inside", "outside"}
    assert sides == sorted(sides)  # those within eps first
    chips[-1].click()
    assert chips[-1].get_attribute("aria-selected") == "true"
    cards = [card for card in page.all(".pair") if card.is_displayed()]
    assert re.match(rf"{len(cards)} of [\d,]+ pairs", page.all(".band:not([hidden]) .of")[0].text)

    page.press("j", "j")
    focused = page.run("return document.activeElement")
    assert focused == cards[1]
    one, two = (focused.find_element("css selector", f".{side} img") for side in ("one", "two"))
    assert page.run("return arguments[0].naturalWidth", one) > 0
    page.press("f")
    assert (one.is_displayed(), two.is_displayed()) == (False, True)
    page.press("f")
    assert (one.is_displayed(), two.is_displayed()) == (True, False)
    page.press("d")
    frame = two.find_element("xpath", "..")
    assert frame.value_of_css_property("mix-blend-mode") == "difference"
    page.press("s")
    assert one.is_displayed()
    assert two.is_displayed()
    page.press("k")
    assert page.run("return document.activeElement") == cards[0]


def test_pictures_of_any_shape_are_shown_whole(page):
    outside = page.run("""
      return [...document.querySelectorAll(".frame img")].filter((image) => image.offsetParent).filter((image) => {
        const [inner, outer] = [image.getBoundingClientRect(), image.parentElement.getBoundingClientRect()];
        const fits = getComputedStyle(image).objectFit === "contain";
        return !fits || inner.height > outer.height + 1 || inner.width > outer.width + 1;
      }).length""")
    shapes = page.run(
        "return [...document.querySelectorAll('.frame img')].map((i) => i.naturalHeight > i.naturalWidth)"
    )

    assert set(shapes) == {True, False}
    assert outside == 0


def test_it_asks_for_nothing_complains_of_nothing_and_shows_in_light_and_dark(page, work):
    colours = set()
    for scheme in ("light", "dark"):
        page.show(scheme)
        colours.add(page.run("return getComputedStyle(document.body).backgroundColor"))
        for section in SECTIONS:
            page.shoot(f"report-{scheme}-{section}", section)

    assert len(colours) == 2
    assert page.complaints() == []
    assert page.requests() == [(work / "report/index.html").resolve().as_uri()]
    assert page.run("return [...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert (work / "report/index.html").stat().st_size < MOST_BYTES


# Contrast as WCAG 2 has it, of each element that has text of its own, against the first ground below it.
CONTRASTS = """
const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
    if (a > 0) return [r, g, b];
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll("body *:not(script):not(svg *)")) {
  if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
  if (!element.offsetParent) continue;
  const [one, two] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
  const contrast = (one + 0.05) / (two + 0.05);
  if (contrast < 4.5) found.push(`${element.tagName}.${element.className} ${contrast.toFixed(2)}`);
}
return [...new Set(found)];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(page, scheme):
    page.show(scheme)

    assert page.run(CONTRASTS) == []


FRAMES = {
    "as srcdoc": "frame.srcdoc = page;",  # as Databricks' displayHTML does
    "by a blob": "frame.src = URL.createObjectURL(new Blob([page], {type: 'text/html'}));",  # as MLflow's artifacts are
}


@pytest.mark.parametrize("how", FRAMES)
def test_in_the_frame_of_a_notebook_that_allows_nothing_but_scripts_it_works_too(browser, work, tmp_path, how):
    (tmp_path / "notebook.html").write_text("<!doctype html><title>notebook</title>", encoding="utf-8")
    notebook = Opened(browser, tmp_path / "notebook.html")
    frame = (
        "const frame = document.createElement('iframe'); frame.sandbox = 'allow-scripts'; const page = arguments[0];"
    )
    style = "frame.style = 'width: 1300px; height: 900px'; document.body.append(frame);"

    notebook.run(frame + FRAMES[how] + style, (work / "report/index.html").read_text(encoding="utf-8"))

    browser.switch_to.frame(0)
    try:
        WebDriverWait(browser, 20).until(lambda _: notebook.all("#level"))
        slider = notebook.all("#level")[0]
        before = notebook.text("at-eps")
        slider.send_keys(Keys.HOME)
        assert (float(before), float(notebook.text("at-eps"))) == (0.22, 0.0)
        chips = notebook.all('[role="tab"]')
        notebook.run("arguments[0].click()", chips[-1])
        assert chips[-1].get_attribute("aria-selected") == "true"
        loaded = "return [...document.images].every((each) => each.complete && each.naturalWidth > 0)"
        WebDriverWait(browser, 20).until(lambda _: notebook.run(loaded))
        notebook.run("document.querySelector('nav a[href=\"#groups\"]').click()")  # goes there, and not to another page
        assert notebook.all("#groups h2")[0].is_displayed()
    finally:
        browser.switch_to.default_content()
    assert notebook.complaints() == []
    assert [url for url in notebook.requests() if not url.startswith(("blob:", "about:"))] == [
        (tmp_path / "notebook.html").resolve().as_uri()
    ]


def test_names_that_look_like_scripts_and_of_every_script_are_shown_as_text(browser, tmp_path):
    (tmp_path / "index.html").write_text(build_page(page_of(n_pairs=9)), encoding="utf-8")

    page = Opened(browser, tmp_path / "index.html")

    page.shoot("names", "pairs")
    text = page.run("return document.body.innerText")
    for name in (*SCRIPTS[:4], SCRIPTS[4]):
        assert name in text
    assert page.run("return document.scripts.length") == 2
    assert page.complaints() == []  # an alert would have stopped the test too
    assert len(page.requests()) == 1


def test_a_script_that_got_into_the_page_would_not_run(browser, tmp_path):
    html = build_page(page_of(n_pairs=1)).replace("</main>", "<script>document.title = 'run'</script></main>")
    (tmp_path / "index.html").write_text(html, encoding="utf-8")

    page = Opened(browser, tmp_path / "index.html")

    assert page.run("return document.title") != "run"
    assert any("Content Security Policy" in said for said in page.complaints())
