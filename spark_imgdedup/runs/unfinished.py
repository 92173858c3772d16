"""An output that is being written: what a run that was killed has finished of it, and what a failure leaves.

Tars and loose files are taken up where that run was. Rows, as Parquet or Delta, are written whole again: by Spark.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.errors import CountsError, ShardError
from spark_imgdedup.files import storage
from spark_imgdedup.files.owning import publishing
from spark_imgdedup.files.owning.lease import require_held
from spark_imgdedup.runs.problems import worker_error

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_imgdedup.runs.tables import Tables

log = logging.getLogger(__name__)


class ChangedInputError(ShardError):
    """Files of the input have other stamps than before they were copied: what is finished says which it was made of."""


@contextmanager
def begun(tables: Tables) -> Iterator[None]:
    """Inside, the output folder is ours. What a failure leaves of it is taken away, but for what is finished.

    A finished file says which input it was made of, by stamps that were the same before and after. Where the sums are
    wrong, or an image is not the one that was compared, stamps are not to be trusted: then all of it goes.
    """
    config = tables.config
    path, options = publishing.output_path(config), config.output.storage_options
    is_resumable = config.output.format in ("webdataset", "images") and not tables.is_forced
    publishing.begin(path, config, None if is_resumable else ())
    try:
        yield
    except BaseException as error:
        kept = publishing.clear_temporary(
            path, options, wanted=None if is_resumable and not _is_doubtful(error) else ()
        )
        if kept:
            place = storage.join(path, publishing.TEMPORARY)
            log.warning(
                "remove: %d pieces of the output are finished and wait in %s for the next run", len(kept), place
            )
        raise


@contextmanager
def doubted(config: Config) -> Iterator[None]:
    """Inside, images are held against what was compared; where one is another, nothing that is finished is used."""
    try:
        yield
    except ShardError:
        if config.output.mode != "replace_where":  # there, what is temporary may be another writer's
            publishing.clear_temporary(publishing.output_path(config), config.output.storage_options)
        raise


def _is_doubtful(error: BaseException) -> bool:
    """True where an error, perhaps of a task, says that the input is not what its stamps say."""
    ours = worker_error(error) if isinstance(error, Exception) else None
    kinds = (CountsError, ShardError)
    return isinstance(ours, kinds) or (isinstance(error, kinds) and not isinstance(error, ChangedInputError))


def take_up(path: str, config: Config, marks: Callable[[], DataFrame], what: str) -> None:
    """Keep what is finished and wanted of an output, say how much that is, and take the rest away.

    Args:
        path: The output folder.
        config: `output` counts.
        marks: Gives the marks of all that is to be written: a job, which runs only where something is finished.
        what: What the marks are of.
    """
    options = config.output.storage_options
    finished = publishing.finished_files(path, options)
    if not finished.marks():
        return
    wanted = {row["mark"] for row in marks().collect()}
    require_held(path)
    kept = finished.clear_others(wanted)
    log.info("remove: %d of %d %s are there from an earlier run", len(kept), len(wanted), what)
