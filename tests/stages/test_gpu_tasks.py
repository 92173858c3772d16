"""gpu_profile where Spark cannot schedule GPUs; tests/cluster/test_gpu_scheduling.py shows it where it can."""

from __future__ import annotations

import pytest

from spark_imgdedup import Config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.stages.embed import embed_shards
from spark_imgdedup.stages.gpu_tasks import gpu_profile


def test_without_the_setting_sparks_own_decide(spark):
    assert gpu_profile(spark, Config()) is None


def test_local_mode_is_refused_before_any_work_in_one_line(spark, tmp_path):
    (tmp_path / "one.tar").write_bytes(b"")
    config = Config(input={"path": str(tmp_path)}, gpu_profile={"gpus_per_task": 1})

    with pytest.raises(ConfigError, match=r"gpus_per_task is 1, but the master is local\[2\].*Leave it out") as caught:
        embed_shards(spark, config)
    assert "\n" not in str(caught.value)


def test_it_never_changes_a_result_so_a_finished_step_stays_finished(tmp_path):
    from spark_imgdedup.runs.fingerprints import fingerprint

    (tmp_path / "one.tar").write_bytes(b"")
    settings = {"input": {"path": str(tmp_path)}}
    profiled = Config(**settings, gpu_profile={"gpus_per_task": 1})

    for step in ("embed", "cluster"):
        assert fingerprint(step, Config(**settings), {}) == fingerprint(step, profiled, {})
