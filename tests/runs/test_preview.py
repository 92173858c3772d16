"""`--dry-run`: what it says is what a run does, and it writes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from spark_imgdedup.config import parse_config
from spark_imgdedup.pipeline import preview, run
from tests.tars import jpeg, make_tar


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*")}


def would(found):
    return {step.name: step.would for step in found.steps}


def test_a_dry_run_needs_no_java_writes_nothing_and_says_what_a_run_would_do(tmp_path):
    make_tar(tmp_path / "in/a.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(2))])
    make_tar(tmp_path / "in/b.tar", [("0.jpg", jpeg(1))])
    (tmp_path / "in/notes.txt").write_text("x")
    before = tree(tmp_path)
    command = "run --dry-run --set input.path=in --set work_dir=w --set output.path=o --set identify.eps=0.1"
    environment = {name: value for name, value in os.environ.items() if name != "PYSPARK_PYTHON"}

    def call(*more):
        return subprocess.run(
            [sys.executable, "-m", "spark_imgdedup", *command.split(), *more],
            cwd=tmp_path,
            env=environment | {"JAVA_HOME": "/none", "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    lines, found = call().splitlines(), json.loads(call("--json"))

    assert tree(tmp_path) == before
    assert lines[0] == "dry run: nothing was written, and no step was taken"
    assert lines[1] == "would read   input.path in: 2 files (tar 2), 0.0 MiB; not read: txt 1"
    assert "would run    embed: it has not run yet" in lines
    assert f"would write  the dataset as webdataset at {tmp_path}/o" in lines
    assert lines[-1] == "would remove duplicates: known once the steps before have run"
    n_bytes = sum((tmp_path / "in" / name).stat().st_size for name in ("a.tar", "b.tar"))
    assert found["reads"][0] == {
        **{"setting": "input.path", "paths": ["in"], "files": 2, "bytes": n_bytes},
        **{"kinds": {"tar": 2}, "not_read": {"txt": 1}},
    }
    assert {step["name"] for step in found["steps"] if step["would"] == "leave out"} == {"score"}


def test_a_dry_run_knows_what_is_there_already(spark, tmp_path):
    make_tar(tmp_path / "in/a.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(2))])
    make_tar(tmp_path / "in/b.tar", [("0.jpg", jpeg(1))])
    settings = {
        "input": {"path": str(tmp_path / "in")},
        "work_dir": str(tmp_path / "w"),
        "output": {"path": str(tmp_path / "o")},
        "detect": {"method": "exact"},
        "steps": ["detect", "identify", "remove", "report"],
    }
    run(parse_config(settings), spark)
    repacked = settings | {"output": {"path": str(tmp_path / "o"), "repack": 2}}
    before = tree(tmp_path)

    done, changed, forced = (
        preview(parse_config(settings)),
        preview(parse_config(repacked)),
        preview(parse_config(settings), force=True),
    )

    assert tree(tmp_path) == before
    assert would(done) == {"detect": "skip", "identify": "skip", "remove": "skip", "report": "run"} | dict.fromkeys(
        ("embed", "score", "cluster", "pairwise"), "leave out"
    )
    assert (done.reads, done.removes) == ((), {})
    assert would(changed) == would(done) | {"remove": "run"}
    assert changed.removes == {"duplicates": 1}
    output = next(write for write in changed.writes if write.what.startswith("the dataset"))
    assert output.replaces == "2 files of an earlier run"
    assert {write.what for write in changed.writes if write.replaces} >= {"removed", "kept", "settings", "report"}
    assert [name for name, does in would(forced).items() if does == "run"] == settings["steps"]
    assert forced.removes == {"duplicates": None}
