"""Hostile tars are copied: what stays is in the output byte for byte, and nothing is written beside it."""

from __future__ import annotations

import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup import pipeline
from spark_imgdedup.config import Config
from spark_imgdedup.files.copying.copy_plan import plan_copies
from spark_imgdedup.files.copying.kept_members import Source
from spark_imgdedup.files.copying.shard_writer import copy_kept
from spark_imgdedup.files.tars.shards import Shard
from tests.hostile.tars import KEYS, all_tars
from tests.tars import jpeg, members_of

REMOVED = KEYS[1]
# Of the cases, those that one run of Spark copies: each costs it some tasks.
EVERY = 9


def lost_of(case, path):
    """What should be in the copy of a case and is not, and what should not."""
    found = dict(members_of(path))
    lost = [f"{case.name}/{key}" for key in case.whole - {REMOVED} if found.get(f"{key}.jpg") != jpeg(KEYS.index(key))]
    return lost + ([f"{case.name}/{REMOVED} stays"] if REMOVED in case.whole and f"{REMOVED}.jpg" in found else [])


def test_every_sample_that_stays_is_in_the_copy_with_its_bytes(tmp_path, capsys):
    lost, n_tars = [], 0
    for case in all_tars():
        path = tmp_path / f"{case.name}{case.suffix}"
        path.write_bytes(case.data)
        shard = Shard(str(path), case.name, len(case.data), "")
        (task,) = plan_copies([shard], {}, None)
        (written,) = copy_kept(task, {case.name: {REMOVED: None}}, str(tmp_path / "out"), read=Source(), write={})
        lost += lost_of(case, written.temporary)
        n_tars += 1
    with capsys.disabled():
        sys.stdout.write(f"\n{n_tars} tars copied, lost: {len(lost)}\n")
    assert not lost
    assert n_tars >= 480


@pytest.mark.slow
def test_a_run_over_hostile_tars_writes_what_stays_and_nothing_elsewhere(spark, tmp_path):
    cases = [case for place, case in enumerate(all_tars()) if place % EVERY == 0]
    (tmp_path / "in").mkdir()
    for case in cases:
        (tmp_path / "in" / f"{case.name}{case.suffix}").write_bytes(case.data)
    ids = [f"{case.name}/{REMOVED}" for case in cases if REMOVED in case.whole]
    pq.write_table(pa.table({"image_id": ids}), tmp_path / "ids.parquet")
    before = everything_below(tmp_path)
    config = Config.model_validate(
        {
            "input": {"path": str(tmp_path / "in")},
            "work_dir": str(tmp_path / "work"),
            "output": {"path": str(tmp_path / "out")},
            "remove": {"ids_path": str(tmp_path / "ids.parquet")},
        }
    )

    summary = pipeline.run(config, spark, steps=["remove"])

    assert not [lost for case in cases for lost in lost_of(case, tmp_path / "out" / f"{case.name}.tar")]
    assert summary.removed == {"listed": len(ids)}
    assert not {name for name in everything_below(tmp_path) - before if name.split("/")[0] not in ("work", "out")}


def everything_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
