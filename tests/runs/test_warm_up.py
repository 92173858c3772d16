"""A session of ours gets ready while the driver plans a step."""

import pyarrow as pa

from spark_imgdedup.config import parse_config
from spark_imgdedup.models import registry
from spark_imgdedup.runs.warm_up import warming_up
from spark_imgdedup.stages.tasks import map_tasks


def loaded(spark):
    """The `embed.model_dir` of the models that workers hold; enough tasks to come to each of them."""

    def look(numbers):
        held = [str(settings.model_dir) for settings in registry._cache for _ in numbers]
        yield pa.RecordBatch.from_pydict({"held": pa.array(held, pa.string())})

    return {row["held"] for row in map_tasks(spark, 12, look, "held string").collect()}


def jobs(spark):
    return set(spark.sparkContext.statusTracker().getJobIdsForGroup(None))


def test_workers_have_loaded_the_model_when_the_block_ends(ours, tmp_path):
    config = parse_config({"embed": {"model_dir": str(tmp_path)}})
    with warming_up(ours, config, with_model=True, most_tasks=2):
        pass
    assert str(tmp_path) in loaded(ours)


def test_what_fails_is_left_to_the_step(ours):
    config = parse_config({"embed": {"model": "no_such_module:Encoder"}})
    before = jobs(ours)
    with warming_up(ours, config, with_model=True, most_tasks=2):
        pass
    assert jobs(ours) > before


def test_a_session_of_somebody_else_is_asked_nothing(spark, tmp_path):
    before = jobs(spark)
    with warming_up(spark, parse_config({"embed": {"model_dir": str(tmp_path)}}), with_model=True, most_tasks=2):
        pass
    assert jobs(spark) == before
