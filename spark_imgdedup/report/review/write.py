"""One file of pairs to judge blind: no scores, no verdicts, no sides that mean something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.config.shown import shown_paths
from spark_imgdedup.config.steps import RECORDED
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files import storage, writing
from spark_imgdedup.report.page.build import MOST_BYTES, build_review
from spark_imgdedup.report.page.collect import small_pictures
from spark_imgdedup.report.page.facts import look_up
from spark_imgdedup.report.page.view import clean
from spark_imgdedup.report.review.draw import draw_questions
from spark_imgdedup.report.review.model import Asked
from spark_imgdedup.report.summarize import records_together
from spark_imgdedup.runs.tables import Tables

# Twice as many pictures share the bytes of a page: more pairs would be too small to judge.
MOST_PAIRS = 500


@dataclass(frozen=True)
class ReviewRequest:
    """What to ask, and where to.

    Attributes:
        to: A folder, or the .html file to write.
        n: How many pairs, at most.
        seed: Another seed draws others.
    """

    to: str
    n: int = 200
    seed: int = 0

    @property
    def file(self) -> str:
        """The file."""
        return self.to if self.to.lower().endswith((".html", ".htm")) else storage.join(self.to, "review.html")


def write_review(tables: Tables, request: ReviewRequest) -> list[str]:
    """Write the page, and say in lines what it asks.

    Args:
        tables: With the settings of the run; `pairwise` or `identify` has run.
        request: What to ask.

    Raises:
        ConfigError: there are no pictures to show, too many pairs are asked for, or the file is there already.
        SchemaError: the run has no pairs yet, or a decision cannot be read.
    """
    config = tables.config
    _require_pictures(config, request)
    found = {step.name: tables.record(step.name) for step in RECORDED}
    records = records_together({step: record for step, record in found.items() if record is not None})
    if not {"pairwise", "identify"} & set(records):
        raise SchemaError(
            f"{config.work_dir}: there are no pairs to judge yet. Run spark-imgdedup run --config … first, up to "
            "pairwise at least, or correct work_dir."
        )
    asked = draw_questions(tables, config, records, n=request.n, seed=request.seed)
    if not asked.questions:
        return [*_counts_in_words(asked), "All of these pairs are decided already, so no page was written."]
    ids = sorted({name for each in asked.questions for name in (each.one, each.other)})
    known, notes = look_up(tables, config, frozenset(ids), list(records)), list[str]()
    shown = small_pictures(tables, config, ids, known, notes)
    if not shown.uris:
        reason = notes[0] if notes else f"There are no pictures: {shown.problems[ids[0]]}"
        raise ConfigError(f"review: {reason} Without them nobody can judge a pair.")
    place = {name: number for number, name in enumerate(ids)}
    images = [
        {"name": clean(name), "uri": shown.uris.get(name), "problem": clean(shown.problems.get(name, ""))}
        for name in ids
    ]
    html = build_review(shown_paths(config.input.paths), _about(asked, request), _data(asked, place, images))
    if len(html.encode()) > MOST_BYTES:
        raise ConfigError(f"--n {request.n}: the page would have more than {MOST_BYTES // 10**6} MB. Ask fewer pairs.")
    writing.write_bytes(request.file, html.encode(), config.storage_options)
    lost = len(shown.problems)
    return [*_counts_in_words(asked), *_lines(asked, request), *([f"{lost:,} images have no picture"] if lost else [])]


def _require_pictures(config: Config, request: ReviewRequest) -> None:
    if config.input.path is None:
        raise ConfigError("input.path is not set, so there are no images to judge. Name the dataset.")
    if not config.report.images:
        raise ConfigError("report.images is false: nobody may see this dataset, so there is nothing to judge by.")
    if config.detect.method == "exact":
        raise ConfigError("detect.method is exact: its pairs are the same bytes or pixels, and need no judge.")
    if not 1 <= request.n <= MOST_PAIRS:
        raise ConfigError(f"--n {request.n}: a page asks 1 to {MOST_PAIRS} pairs. Make several, each with its --seed.")
    if storage.exists(request.file, config.storage_options):
        raise ConfigError(f"--to {request.file} is there already. Name another file: nothing is overwritten.")


def _about(asked: Asked, request: ReviewRequest) -> str:
    return f"Page {asked.header.page}: {len(asked.questions):,} pairs drawn with seed {request.seed}."


def _data(asked: Asked, place: dict[str, int], images: list[dict[str, Any]]) -> dict[str, Any]:
    def sides(one: int, other: int, is_turned: bool) -> dict[str, int]:
        return {"left": other, "right": one} if is_turned else {"left": one, "right": other}

    pairs = [
        {"one": each.one, "other": each.other, "band": each.band}
        | sides(place[each.one], place[each.other], each.is_turned)
        for each in asked.questions
    ]
    return {"header": asdict(asked.header), "pairs": pairs, "images": images}


def _counts_in_words(asked: Asked) -> Iterator[str]:
    width = max(len(band.name) for band in asked.header.bands)
    for band in asked.header.bands:
        if band.pairs:
            side = {True: "within eps", False: "outside eps", None: ""}[band.inside]
            before = band.same + band.different
            decided = f", {before:,} decided before" if before else ""
            yield f"{band.name:<{width}}  {band.drawn:,} of {band.pairs:,} pairs {side}{decided}".rstrip()
    if asked.n_left_out:
        yield f"{asked.n_left_out:,} pairs are farther apart, and are not asked"
    if asked.waits_for_hashes:
        yield "Pairs that only hashes find are not among them: identify has not run"


def _lines(asked: Asked, request: ReviewRequest) -> Iterator[str]:
    yield f"{len(asked.questions):,} pairs to judge: {request.file}"
    if len(asked.questions) < request.n:
        yield f"There are no more that nobody has decided: {request.n:,} were asked for"
    yield "Open it, decide by keyboard, download; then: spark-imgdedup review import FILE --config …"
