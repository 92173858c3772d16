"""Tiny tars with known copies, settings for a run over them, and what such a run did.

Settings name everything by relative paths, so that a finished run can be copied.
"""

from __future__ import annotations

import json
import logging
import shutil

from spark_imgdedup.config import parse_config
from spark_imgdedup.pipeline import run
from tests.tars import encoded, jpeg, make_tar, png, tar_bytes

STEPS = ("embed", "detect", "cluster", "pairwise", "identify", "remove")
# Samples that can be read: 7, of them an exact copy and one in another format; without an image: 2; cut: 1.
CAPTION = b"a caption"


def write_shards(folder):
    make_tar(folder / "a.tar", [("0.jpg", jpeg(1)), ("0.txt", CAPTION), ("1.jpg", jpeg(2)), ("2.jpg", jpeg(3))])
    make_tar(
        folder / "sub/b.tar",
        [
            ("0.jpg", jpeg(1)),  # an exact copy of a/0
            ("1.png", encoded("PNG", 2)),  # a/1 in another format
            ("2.jpg", b"not a picture"),
            ("3.txt", CAPTION),  # no image
        ],
    )
    # Two samples, and a third that the shard ends in.
    whole = tar_bytes([("0.png", png(4)), ("1.png", png(5)), ("2.png", png(6, (64, 64)))])
    (folder / "cut.tar").write_bytes(whole[: -2 * 1024])


def settings(**sections):
    """Of a run over these shards: up to `remove`, or with a report where `sections` ask for its page."""
    merged = {
        "input": {"path": "data"},
        "output": {"path": "out"},
        "work_dir": "work",
        "embed": {"model": "tests.encoders:ColourEncoder", "batch_size": 4},
        "cluster": {"n_clusters": 1},
        "identify": {"eps": 0.01},
    }
    for name, section in sections.items():
        merged[name] = merged[name] | section if isinstance(section, dict) and name in merged else section
    return parse_config(without_report(merged))


def without_report(sections):
    """Settings that leave out the report, a fifth of the jobs of so small a run, unless they ask for its page."""
    asked = sections.setdefault("report", {"page": False})["page"]
    return sections if asked else {"steps": STEPS} | sections


def copy_run(folder, to):
    """Copy a run with its times, and let the output's manifest name its source by the new path."""
    shutil.copytree(folder, to, copy_function=shutil.copy2, dirs_exist_ok=True)
    manifest = to / "out/_spark_imgdedup.json"
    if manifest.exists():
        manifest.write_text(manifest.read_text().replace(str(folder), str(to)))


def steps_done(caplog, *arguments, **options):
    """The steps that a run took and those that it skipped, by its own log."""
    caplog.clear()
    caplog.set_level(logging.INFO)
    run(*arguments, **options)
    said = [(line.split(":")[0], line) for line in caplog.messages if line.split(":")[0] in STEPS]
    skipped = [step for step, line in said if ": unchanged since the last run, skipped" in line]
    records = [step for step, _ in said]
    return [step for step in STEPS if step in records and step not in skipped], skipped


def files_of(folder):
    """Contents and times of all files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def record_of(folder, step):
    return json.loads((folder / f"work/_steps/{step}.json").read_text())
