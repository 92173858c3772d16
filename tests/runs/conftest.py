"""Sessions as the tests of runs need them."""

import pytest

from spark_imgdedup.runs.codegen import interpreted


@pytest.fixture
def ours(spark):
    """The session, with the settings of a new one that we start."""
    before = {key: spark.conf.get(key, None) for key in interpreted({})}
    for key, value in interpreted({}).items():
        spark.conf.set(key, value)
    yield spark
    for key, value in before.items():
        if value is None:
            spark.conf.unset(key)
        else:
            spark.conf.set(key, value)
