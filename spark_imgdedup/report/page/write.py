"""<work_dir>/report/index.html: written where what it would say has changed."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING

from spark_imgdedup import __version__
from spark_imgdedup.config import Config
from spark_imgdedup.errors import ImgDedupError, without_credentials
from spark_imgdedup.files import storage, writing
from spark_imgdedup.runs.counting import to_yaml

if TYPE_CHECKING:
    from spark_imgdedup.runs.tables import Tables

log = logging.getLogger(__name__)

PAGE = "report/index.html"
# Raised when the page shows something else of the same tables.
LAYOUT = 2
# The mark stands in the first characters of the file.
_MARK = "<!-- made of {} -->"
_HEAD = 200


def write_page(tables: Tables, config: Config) -> None:
    """Write the page of what report.json says, unless it is there.

    A page that cannot be made is a warning: what the run has written stands without it.

    Args:
        tables: Of the run; report.json is there.
        config: `report.page` asks for it.
    """
    if not config.report.page:
        return
    options, place = config.storage_options, tables.path(PAGE)
    said = storage.read_text(tables.path("report/report.json"), options)
    mark = _MARK.format(hashlib.sha256(f"{LAYOUT} {__version__} {said} {to_yaml(config)}".encode()).hexdigest())
    if _is_written(place, mark, options):
        return
    try:
        html = _made(tables, config, said)
    except ImgDedupError as error:
        log.warning("report: there is no page, since it could not be made: %s", error)
        storage.delete(place, options)
        return
    writing.write_bytes(place, html.replace("<!doctype html>", f"<!doctype html>{mark}", 1).encode(), options)
    log.info("report: look at %s", without_credentials(place))


def _is_written(place: str, mark: str, options: storage.Options) -> bool:
    try:
        with storage.open_read(place, options) as file:
            return mark.encode() in file.read(_HEAD)
    except FileNotFoundError:
        return False


def _made(tables: Tables, config: Config, said: str) -> str:
    from spark_imgdedup.report.page.build import build_page  # Jinja2 and Pillow, which a run of one step has no use for
    from spark_imgdedup.report.page.collect import collect_page

    report = json.loads(said)
    found = {step: tables.record(step) for step in report["steps"]}
    records = {step: record for step, record in found.items() if record is not None}
    return build_page(collect_page(tables, config, records, report))
