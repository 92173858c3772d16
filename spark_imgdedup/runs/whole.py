"""Whether a power loss has cut off a file of a table. Spark passes over a file of 0 bytes without a word."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files.cut_files import find_cut

if TYPE_CHECKING:
    from spark_imgdedup.runs.tables import Tables

log = logging.getLogger(__name__)

# Tables of which a run has seen that their files are whole: each is looked at once.
_WHOLE: WeakKeyDictionary[Tables, set[str]] = WeakKeyDictionary()


def is_whole(table: str, tables: Tables) -> bool:
    """False where a file of a table or an artefact has lost its end; the log says which."""
    cut = _find(table, tables)
    if cut is not None:
        log.warning("%s is empty or cut off, as by a power loss: the table %s is made again", cut, table)
    return cut is None


def require_whole(table: str, tables: Tables, command: str) -> None:
    """Refuse to read a table that is not `is_whole`.

    Args:
        table: Its name.
        tables: Of the run.
        command: What makes it again.

    Raises:
        SchemaError: with the file and the command.
    """
    if (cut := _find(table, tables)) is not None:
        raise SchemaError(f"{cut} is empty or cut off, as by a power loss. Make its table again: {command} --config …")


def _find(table: str, tables: Tables) -> str | None:
    looked_at = _WHOLE.setdefault(tables, set())
    if table in looked_at or not tables.is_folder(table):
        return None
    cut = find_cut(tables.path(table), tables.config.storage_options)
    if cut is None:
        looked_at.add(table)
    return cut
