"""The page as a browser reads it: its numbers, its names as text, its size, and that it asks for nothing."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from scripts.build_zip import build_zip
from spark_imgdedup.report.page.build import MOST_BYTES, TOO_LARGE, build_page
from spark_imgdedup.report.page.model import Curve, Level, Page
from tests.report.page.pages import SCRIPTS, page_of, report_of

ROOT = Path(__file__).resolve().parents[3]


class Read(HTMLParser):
    """What is in a page: tags with attributes, visible text, and the text of scripts."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.scripts, self.inside = [], [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        (self.scripts if self.inside == "script" else self.text).append(data)

    def of(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def page():
    return page_of()


@pytest.fixture(scope="module")
def html(page):
    return build_page(page)


@pytest.fixture(scope="module")
def read(html):
    return Read(html)


def test_what_samples_are_named_is_text_and_never_a_tag_or_a_script(read):
    text = "".join(read.text)

    for name in ("Café au lait, été", "日本の写真、富士山", *SCRIPTS[2:6]):
        assert name in text
    assert len(read.of("script")) == 2  # its own, and the numbers of the slider
    assert not [attrs for _, attrs in read.tags if any(each.startswith("on") for each in attrs)]
    assert not read.of("i")
    assert "\x00" not in text


def test_names_of_the_other_direction_are_isolated_and_none_turns_it_by_force(html):
    places = [found.start() for found in re.finditer("مرحبا", html)]

    assert len(places) > 100
    for place in places:
        before = html[:place]
        in_attribute = before.rfind('="') > before.rfind(">")
        assert in_attribute or before.rfind("<bdi") > before.rfind("</bdi>")
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in html
    assert "\N{ZERO WIDTH JOINER}" in html


def test_the_page_asks_for_nothing_and_its_policy_allows_no_other_script(read, html):
    addresses = [attrs[name] for _, attrs in read.tags for name in ("src", "href") if name in attrs]

    assert addresses
    assert all(each.startswith(("#", "data:image/webp;base64,")) for each in addresses)
    policy = next(attrs["content"] for attrs in read.of("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not [attrs for _, attrs in read.tags if "style" in attrs]
    assert "@import" not in html
    assert "url(" not in html


def test_the_numbers_are_those_of_the_report(read, page):
    text = " ".join(" ".join(read.text).split())
    summary = page.report["summary"]

    assert "10,000 read = 7,494 kept + 2,500 removed: duplicate + 5 removed: aesthetic + 1 cut off" in text
    assert "adds up" in text
    assert f"{summary['duplicates']:,} duplicates" not in text  # no sentence says it twice in other words
    assert "99.00 to 99.75 %, by 1,200 pairs of 512 rows" in text
    assert "20 of 61,204 pairs" in text
    assert "20 of 1,250 groups" in text
    assert "lowest cosine with the one that stays 0.810000 , of any two of 50 of them 0.750000" in text
    assert "9 of 61,204, by samples before" in text
    assert "4 of 9 duplicates cross" in text


def test_counts_that_do_not_add_up_are_called_so():
    page = page_of(n_pairs=1)
    summary = page.report["summary"] | {"kept": 1}

    shown = build_page(replace(page, report=page.report | {"summary": summary}))

    assert "does not add up" in shown
    assert ">adds up<" not in shown


def test_the_slider_has_the_levels_of_the_curve_and_says_where_none_was_searched(read, page):
    (found,) = (json.loads(text) for text in read.scripts if text.startswith('{"levels"'))

    assert found["rows"] == page.curve.n_rows
    assert [each["removed"] for each in found["levels"]] == [level.removed for level in page.curve.levels]
    assert found["levels"][-1]["removed"] is None
    assert all(0 < each["x"] < 760 and 0 < each["y"] < 280 for each in found["levels"])
    assert "The search was made for eps 0.2." in "".join(read.text)


def test_every_picture_is_named_and_every_section_has_a_link(read):
    assert all(attrs["alt"].split(":")[0] in ("kept", "removed") for attrs in read.of("img"))
    sections = {attrs["id"] for attrs in read.of("section") if attrs.get("id", "").isalpha()}
    assert sections == {attrs["href"][1:] for attrs in read.of("a")} - {"main"}


@pytest.mark.parametrize("n", [10_000, 100_000_000])
def test_the_page_stays_below_its_size_whatever_the_run_holds(n):
    full = build_page(page_of(n, side=360))

    assert full.count("data:image/webp") == 13 * 40 + 20 * 6
    assert len(full.encode()) <= MOST_BYTES


def test_pictures_are_left_out_where_the_page_would_be_too_large():
    page = page_of(n_pairs=2)
    heavy = replace(page.groups[0].kept, uri="data:image/webp;base64," + "A" * MOST_BYTES)

    shown = build_page(replace(page, groups=(replace(page.groups[0], kept=heavy),)))

    assert TOO_LARGE in shown
    assert "data:image" not in shown.partition("<body>")[2]


def test_a_run_that_has_only_begun_has_a_page():
    report = report_of(100)
    nothing = dict.fromkeys(report["summary"])
    nothing |= {name: {} for name in ("unreadable", "not_read", "removed", "recall", "seconds")}
    nothing |= {"damaged_shards": [], "rule": "", "why": "", "uncovered": 0, "wiped_out": 0, "groups": 0, "cut": 0}
    page = Page({"summary": nothing | {"read": 100, "unit": "image"}, "breakdowns": {}, "steps": {}}, "photos")

    assert "Every sample was read and compared." in build_page(page)


def test_a_curve_without_a_single_duplicate_can_be_drawn():
    page = page_of(n_pairs=1)
    curve = Curve(0, (Level(0.0, 1.0, 0, 0, 0, 0),), None)

    assert "What each threshold would remove" in build_page(replace(page, curve=curve))


FROM_A_ZIP = """
import sys
sys.path[:0] = sys.argv[1:]
import spark_imgdedup
from spark_imgdedup.report.page.build import build_page
from tests.report.page.pages import page_of
html = build_page(page_of(n_pairs=1))
print(spark_imgdedup.__file__.startswith(sys.argv[1]), "What each threshold would remove" in html)
"""


def test_templates_are_found_in_a_package_that_lies_in_a_zip(tmp_path):
    archive = build_zip(tmp_path)

    done = subprocess.run(
        [sys.executable, "-c", FROM_A_ZIP, str(archive), str(ROOT)], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["True", "True"]


def test_each_removed_picture_has_the_command_that_brings_it_back_as_a_shell_reads_it(html):
    read = Read(html.replace("<wbr>", ""))
    lines = [line for line in read.text if line.startswith("spark-imgdedup restore")]

    found = {shlex.split(line)[-1].removeprefix("--ids=") for line in lines if "--ids=" in line}

    odd = {name for name in found if name.endswith(("'too'", "<script>alert(1)</script>", "富士山"))}
    assert len(odd) >= 3
    assert not [name for name in found if "\N{RIGHT-TO-LEFT OVERRIDE}" in name]  # which cannot be typed
    assert lines[-1].endswith("--all-of duplicate")
    assert "out/removed.csv" in "".join(read.text)
