"""The tables of a run -> a `Page`: a bounded number of rows, whatever the run's size. All that reads Spark is below."""

from __future__ import annotations

import logging
import platform
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spark_imgdedup import __version__
from spark_imgdedup.config import Config
from spark_imgdedup.config.shown import shown_paths
from spark_imgdedup.errors import ImgDedupError, shown, without_credentials
from spark_imgdedup.files import storage
from spark_imgdedup.report.page import assemble
from spark_imgdedup.report.page.assemble import Shown
from spark_imgdedup.report.page.curve import STALE, draw_curve
from spark_imgdedup.report.page.draw import DrawnBand, DrawnGroup, band_draws, draw_groups
from spark_imgdedup.report.page.facts import Known, described_in, look_up, trimmed_images, unusable_samples
from spark_imgdedup.report.page.model import Page, Undo
from spark_imgdedup.report.page.thumbnails import Thumbnails
from spark_imgdedup.report.page.undo import stored_settings
from spark_imgdedup.runs.counting import to_yaml
from spark_imgdedup.runs.plan import resolve_eps
from spark_imgdedup.runs.removed_csv import REMOVED_CSV
from spark_imgdedup.runs.side_by_side import side_by_side
from spark_imgdedup.runs.tables import ARTEFACTS, WRITTEN_BY, Tables
from spark_imgdedup.stages.vectors.samples import show_images

if TYPE_CHECKING:
    from spark_imgdedup.runs.tables import StepRecord

log = logging.getLogger(__name__)

NO_INPUT = "There are no pictures: input.path is not set."
LEFT_OUT = "There are no pictures: report.images is false."


def collect_page(tables: Tables, config: Config, records: Mapping[str, StepRecord], report: Mapping[str, Any]) -> Page:
    """What the page of a run shows; about fifteen Spark jobs, each of a pass over one table at most.

    Args:
        tables: Of the run.
        config: The settings in effect.
        records: The steps whose tables belong together.
        report: What report.json holds.
    """
    steps, eps, notes = list(records), run_eps(config, records), list[str]()
    described = described_in(tables, steps)
    with side_by_side(tables.spark) as start:
        # What pictures are made of comes first: they take longest.
        drawn_groups = start(lambda: list(draw_groups(tables, config)) if "identify" in steps else [])
        drawn_bands = [start(draw) for draw in band_draws(tables, config, eps, steps)]
        curve = start(lambda: draw_curve(tables, config, eps) if "pairwise" in steps else None)
        reasons = start(lambda: unusable_samples(tables, config, steps, described))
        trimmed = start(lambda: trimmed_images(tables, described))
        groups = drawn_groups.result()
        bands = [band for of_kind in drawn_bands for band in of_kind.result()]
        names = _names(bands, groups)
        known = look_up(tables, config, frozenset(names), steps)
        seen = small_pictures(tables, config, names, known, notes)
    if "pairwise" in steps and curve.result() is None:
        notes.append(STALE)
    return Page(
        report=report,
        dataset=shown_paths(config.input.paths) or "vectors",
        tables={
            name: without_credentials(tables.place(name))
            for name, step in WRITTEN_BY.items()
            if step in steps and name not in ARTEFACTS and tables.has(name)
        },
        curve=curve.result(),
        bands=tuple(assemble.band(each, known, seen, config) for each in bands),
        groups=tuple(assemble.group(each, known, seen) for each in groups),
        n_groups=report["summary"]["groups"] if "identify" in steps else None,
        reasons=tuple(reasons.result()),
        trimmed=trimmed.result(),
        settings=to_yaml(config),
        versions=_versions(tables, config, records),
        notes=tuple(notes),
        undo=_undo(tables, config, report) if "remove" in steps else None,
    )


def run_eps(config: Config, records: Mapping[str, StepRecord]) -> float | None:
    """The eps that identify has applied, or would; None where no number is set."""
    if "identify" in records:
        eps = getattr(records["identify"].counts, "eps", None)
    else:
        eps = resolve_eps(config).identify.eps
    return eps if isinstance(eps, float) else None


def _undo(tables: Tables, config: Config, report: Mapping[str, Any]) -> Undo | None:
    removed, settings = report["summary"]["removed"], stored_settings(config)
    if not removed or settings is None:
        return None
    restore = ["spark-imgdedup", "restore", "--config", settings]
    commands = [["--ids", "ID,ID"], ["--ids-file", "ids.txt"], *(["--all-of", reason] for reason in removed)]
    output = report["summary"]["output"]
    listed = storage.join(output, REMOVED_CSV) if config.output.format == "images" and output else None
    lines = tuple(shlex.join([*restore, *each]) for each in commands)
    return Undo(lines, without_credentials(tables.place("removed")), listed)


def _names(bands: Sequence[DrawnBand], groups: Sequence[DrawnGroup]) -> list[str]:
    """The ids of all pictures of the page; one may be there several times."""
    of_pairs = [name for band in bands for pair in band.pairs for name in (pair.better, pair.other)]
    of_groups = [name for group in groups for name in (group.kept, *(pair.other for pair, _ in group.members))]
    return of_pairs + of_groups


def small_pictures(tables: Tables, config: Config, names: Sequence[str], known: Known, notes: list[str]) -> Shown:
    """Small pictures of these images, made in tasks; what is wrong with the input is a note, and no failed report."""
    if config.input.path is None or not config.report.images:
        notes.append(NO_INPUT if config.input.path is None else LEFT_OUT)
        return Shown({}, {})
    if config.own_embeddings and config.remove.match_field is not None:
        input_ = config.input.model_copy(update={"id_field": config.remove.match_field})
        config = config.model_copy(update={"input": input_})
    places = known.places if config.input.id_field is not None and known.places else None
    ids, small = frozenset(names), Thumbnails.of(len(names), config.input.max_image_pixels)
    try:
        rows = show_images(tables.spark, config, ids, small, places).collect() if ids else []
    except ImgDedupError as error:
        notes.append(f"There are no pictures: {error}")
        return Shown({}, {})
    of_images = [row for row in rows if row["image_id"] is not None]
    uris = {row["image_id"]: row["shown"] for row in of_images if row["shown"] is not None}
    problems = {row["image_id"]: shown(row["problem"]) for row in of_images if row["problem"] is not None}
    lost = "; ".join(("not found in the input", *(shown(row["problem"]) for row in rows if row["image_id"] is None)))
    return Shown(uris, {name: problems.get(name, lost) for name in ids - uris.keys()})


def _versions(tables: Tables, config: Config, records: Mapping[str, StepRecord]) -> dict[str, str]:
    made = sorted({record.version for record in records.values() if record.version})
    models = {spec: identity for record in records.values() for spec, identity in record.models.items()}
    return {
        "this page": f"spark-imgdedup {__version__}",
        "tables": ", ".join(f"spark-imgdedup {version}" for version in made),
        "Spark": tables.spark.version,
        "Python": platform.python_version(),
        **{f"model {spec}": identity for spec, identity in models.items()},
    }
