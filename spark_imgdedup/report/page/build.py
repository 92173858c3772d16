"""A `Page` -> one file of HTML that asks for nothing else: styles, scripts and pictures are in it."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from spark_imgdedup.report.page import charts, view
from spark_imgdedup.report.page.model import KINDS, Band, Group, Page, Pair, Picture

# What MLflow and notebooks still show; a picture is bounded by `thumbnails`.
MOST_BYTES = 8_000_000
# Parts of report.json whose tables may not be there.
_NOT_YET: dict[str, Any] = {"found_by": {}, "clusters": None, "similarity": None, "value_pairs": {}}
_ABOUT = "Drawn by a hash of their ids, so they are the same ones every time."
TOO_LARGE = "There are no pictures: with them the page would have more than 8 MB."


def build_page(page: Page) -> str:
    """The file.

    No script runs but the page's own and nothing is asked of any server: a policy in the file says so, and browsers
    keep to it. Names and captions are text, whatever they hold.
    """
    html = _render(page)
    if len(html.encode()) <= MOST_BYTES:
        return html
    return _render(replace(_without_pictures(page), notes=(*page.notes, TOO_LARGE)))


def build_pairs(dataset: str, about: str, band: Band) -> str:
    """A file of some pairs alone.

    Args:
        dataset: What they are of.
        about: How they were chosen.
        band: They.
    """
    return build_other("sample.html.j2", {"dataset": dataset, "about": about, "bands": (band,)})


def build_other(
    template: str, context: Mapping[str, Any], styles: Sequence[str] = ("page.css",), script: str = "page.js"
) -> str:
    """A file that is no report, but looks like one.

    Args:
        template: Its name; it extends base.html.j2.
        context: What it shows.
        styles: Its style sheets, in `templates/`.
        script: What it runs.
    """
    return _environment().get_template(template).render({**context, **_frame(styles, script)})


def build_review(dataset: str, about: str, data: Mapping[str, Any]) -> str:
    """A file that asks which pairs are the same.

    Args:
        dataset: What they are of.
        about: How they were chosen.
        data: What its script reads: header, pairs, images.
    """
    named = {"dataset": dataset, "about": about, "data": data, "n": len(data["pairs"]), "page": data["header"]["page"]}
    return build_other("review.html.j2", named, ("page.css", "review.css"), "review.js")


def build_fragment(template: str, context: Mapping[str, Any]) -> str:
    """A part of a page for a notebook to show: no script, no style sheet, and all that is put in is text.

    Args:
        template: A file of `templates/`.
        context: What it names.
    """
    return _environment().get_template(template).render(context)


def _frame(styles: Sequence[str] = ("page.css",), own_script: str = "page.js") -> dict[str, Any]:
    """What every page needs."""
    style, script = "".join(map(_own_file, styles)), _own_file(own_script)
    return {
        "kinds": KINDS,
        "facts": view.facts,
        "style": Markup(style),  # noqa: S704  # files of this package
        "script": Markup(script),  # noqa: S704
        "policy": _policy(style, script),
    }


def _render(page: Page) -> str:
    sizes = page.report["breakdowns"].get("sizes")
    summary = page.report["summary"]
    context: dict[str, Any] = {
        "page": page,
        "summary": summary,
        "breakdowns": _NOT_YET | page.report["breakdowns"],
        "sizes": sizes,
        "parts": view.parts(summary),
        "adds_up": view.adds_up(summary),
        "counted": () if sizes is None else tuple(view.counted_tables(sizes)),
        "steps": view.step_rows(page),
        "drawing": None if page.curve is None else charts.draw(page.curve),
        "chart": charts,
        "levels": _level_data(page),
        "bands": page.bands,
        "about": _ABOUT
        if summary["duplicates"] is not None
        else f"{_ABOUT} Nothing is decided yet: they help to do so.",
        **_frame(),
    }
    return _environment().get_template("page.html.j2").render(context)


def _level_data(page: Page) -> list[dict[str, Any]]:
    """What the slider shows of each level: the numbers, and where they are in the drawing."""
    if page.curve is None:
        return []
    dots = charts.draw(page.curve).dots
    return [asdict(level) | {"x": x, "y": y} for level, (x, y) in zip(page.curve.levels, dots, strict=True)]


def _policy(style: str, script: str) -> str:
    """Nothing but these two, and pictures that stand in the page."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FunctionLoader(_own_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"n": view.count, "clean": view.clean, "clean_lines": view.clean_lines, "mb": view.megabytes}
    found.globals |= {"percent": view.percent}
    return found


def _own_file(name: str) -> str:
    """A template, the styles or the script; read through the loader, since a package may lie in a zip."""
    return (importlib.resources.files("spark_imgdedup.report.page") / "templates" / name).read_text(encoding="utf-8")


def _without_pictures(page: Page) -> Page:
    def bare(picture: Picture) -> Picture:
        return replace(picture, uri=None)

    def pair(each: Pair) -> Pair:
        return replace(each, better=bare(each.better), other=bare(each.other))

    def band(each: Band) -> Band:
        return replace(each, pairs=tuple(map(pair, each.pairs)))

    def group(each: Group) -> Group:
        members = tuple(replace(member, picture=bare(member.picture)) for member in each.members)
        return replace(each, kept=bare(each.kept), members=members)

    return replace(page, bands=tuple(map(band, page.bands)), groups=tuple(map(group, page.groups)))
