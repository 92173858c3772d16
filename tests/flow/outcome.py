"""All that a run leaves behind that must not depend on how it was carried out, for tests that compare runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.dataset as ds

# Of records and reports: when it was, how long it took, and what says under which settings.
_OF_THE_RUN = ("seconds", "fingerprint", "built_on", "computed_from", "started", "made")

# A page names the input as the settings spell it.
_NAME = re.compile(rb"<title>.*?</title>|<bdi class=.dataset.>.*?</bdi>")


def outcome(folder: Path) -> dict[str, object]:
    """The tables as sorted rows with every bit of their floats, the counts, the report, and the tars as bytes."""
    found: dict[str, object] = {}
    for place in sorted((folder / "work").iterdir()):
        if list(place.glob("*.parquet")) and place.name not in ("blocks", "groups", "links", "kept"):
            found[place.name] = _rows(place)
    for path in sorted((folder / "work/centroids").iterdir()):
        if path.name != "manifest.json":  # it tells the settings, threads among them
            found[f"centroids/{path.name}"] = path.read_bytes()
    for path in sorted((folder / "work/_steps").glob("*.json")):
        found[f"counts of {path.stem}"] = _without_times(json.loads(path.read_text())["counts"])
    found["report"] = _without_times(json.loads((folder / "work/report/report.json").read_text()))
    for path in sorted((folder / "out").rglob("*.tar")):
        found[path.relative_to(folder).as_posix()] = path.read_bytes()
    for path in sorted((folder / "sample").rglob("*")):
        found[path.relative_to(folder).as_posix()] = _NAME.sub(b"", path.read_bytes())
    return found


def differing(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """The names of what two runs left differently."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _rows(folder: Path) -> list[str]:
    table = ds.dataset(folder, format="parquet").to_table()
    columns = sorted(table.column_names)
    return sorted(repr(list(row.items())) for row in table.select(columns).to_pylist())


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_times(each) for name, each in value.items() if name not in _OF_THE_RUN}
    return [_without_times(each) for each in value] if isinstance(value, list) else value
