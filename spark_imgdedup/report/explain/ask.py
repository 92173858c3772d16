"""From what a user types to an explanation, on a terminal, as JSON, or as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from spark_imgdedup.errors import ConfigError, shown
from spark_imgdedup.report.explain.find import find_image
from spark_imgdedup.report.explain.gather import gather
from spark_imgdedup.report.explain.model import Explanation
from spark_imgdedup.report.explain.one import explain_one, partner_of
from spark_imgdedup.report.explain.two import explain_two
from spark_imgdedup.report.page.assemble import picture
from spark_imgdedup.report.page.build import build_other
from spark_imgdedup.report.page.collect import small_pictures
from spark_imgdedup.report.page.facts import look_up
from spark_imgdedup.report.page.model import KEPT, Pair, Picture
from spark_imgdedup.runs.plan import resolve_eps
from spark_imgdedup.runs.tables import WRITTEN_BY, Tables

if TYPE_CHECKING:
    from rich.console import Console

_ANSWERS = {True: "yes", False: "no", None: ""}


def explain(tables: Tables, texts: Sequence[str]) -> Explanation:
    """Why an image went or stayed, or why two are a pair or none.

    Args:
        tables: With the settings of the run.
        texts: What names the image, or the two: see `find_image`.

    Raises:
        ConfigError: a text names no image, or several; or both name one.
        SchemaError: no step has looked at the images yet.
    """
    config = resolve_eps(tables.config)
    ids = [find_image(tables, config, text) for text in texts]
    if len(ids) == 1:
        first = gather(tables, config, ids)
        partner = partner_of(ids[0], first)
        return explain_one(ids[0], first if partner is None else gather(tables, config, [ids[0], partner]), config)
    if ids[0] == ids[1]:
        raise ConfigError(f"'{texts[0]}' and '{texts[1]}' are both the image {ids[0]}. Name two images.")
    return explain_two(ids[0], ids[1], gather(tables, config, ids), config)


def print_explanation(found: Explanation, console: Console) -> None:
    """The verdict, the checks as a table, and what is not known."""
    from rich.table import Table
    from rich.text import Text

    def text(words: str) -> Text:  # names may hold what rich takes for markup
        return Text(shown(words))

    what = "removing it" if len(found.image_ids) == 1 else "a pair"
    table = Table(title=text(" and ".join(found.image_ids)), title_justify="left", title_style="bold")
    for name in ("check", "found", "it takes", f"speaks for {what}"):
        table.add_column(name, overflow="fold")
    for check in found.checks:
        table.add_row(*map(text, (check.name, check.found, check.needed, _ANSWERS[check.counts])))
    console.print(table)
    console.print(text(found.verdict), soft_wrap=True)
    for line in found.not_known:
        console.print(text(line), soft_wrap=True)
    if found.undo is not None:
        console.print(text(f"To bring it back: {found.undo}"), soft_wrap=True)


def build_explanation(tables: Tables, found: Explanation) -> str:
    """One file of HTML that asks for nothing else: the verdict, both pictures, the checks."""
    config = resolve_eps(tables.config)
    ids = [*found.image_ids, *([found.partner] if found.partner is not None else [])][:2]
    steps = [step for step in dict.fromkeys(WRITTEN_BY.values()) if tables.record(step) is not None]
    notes = list[str]()
    known = look_up(tables, config, frozenset(ids), steps)
    small = small_pictures(tables, config, ids, known, notes)
    return page_of(found, [picture(each, known, small) for each in ids], notes)


def page_of(found: Explanation, pictures: Sequence[Picture], notes: Sequence[str] = ()) -> str:
    """The page of an explanation.

    Args:
        found: It.
        pictures: Of the image and, if there is one, its partner; or of the two.
        notes: What is not shown, and why.
    """
    first_word = "the first"
    if len(found.image_ids) == 1 and len(pictures) == 2:
        pictures = pictures[::-1]  # what stays is on the left, as in the report
        first_word = "resembles it most" if found.outcome == KEPT else "stays for it"
    pair = Pair(pictures[0], pictures[1], " / ".join(_measures(found))) if len(pictures) == 2 else None
    context = {"found": found, "pair": pair, "picture": pictures[0], "notes": notes, "first_word": first_word}
    return build_other("explain.html.j2", context)


def _measures(found: Explanation) -> Iterator[str]:
    """What is near of a pair."""
    yield from (
        check.found for check in found.checks if check.counts and check.name.startswith(("cosine", "perceptual"))
    )
