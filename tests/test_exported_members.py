"""What a notebook sees: every public name is there, documented, and looked up only when it is used."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import spark_imgdedup

ROOT = Path(spark_imgdedup.__file__).parents[1]
# Where people copy from. The classes for pyspark.ml have a door of their own.
EXAMPLES = [
    *(ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.py")),
    *(*ROOT.glob("jobs/notebooks/*.py"), *ROOT.glob("jobs/notebooks/*.ipynb")),
]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_no_example_of_ours_needs_a_module_within_the_package(path):
    found = re.findall(r"^\W*(?:from|import) (spark_imgdedup[\w.]*)", path.read_text(), re.MULTILINE)

    assert set(found) <= {"spark_imgdedup", "spark_imgdedup.ml"}


@pytest.mark.parametrize("name", spark_imgdedup.__all__)
def test_an_exported_name_can_be_used_and_is_documented(name):
    member = getattr(spark_imgdedup, name)

    assert callable(member)
    assert inspect.getdoc(member)
    full = f"{getattr(member, '__module__', 'spark_imgdedup')}.{member.__name__.rpartition('.')[2]}"
    assert full.startswith("spark_imgdedup.")
    assert full.endswith(f".{name}")


def test_the_exported_names_are_what_dir_lists():
    assert dir(spark_imgdedup) == sorted(spark_imgdedup.__all__)


def test_a_name_that_is_not_exported_is_refused_with_those_that_are():
    with pytest.raises(AttributeError, match="no attribute 'dedup'; it exports Config, "):
        _ = spark_imgdedup.dedup


def test_every_public_function_of_a_dataframe_takes_one_first():
    stages = [getattr(spark_imgdedup, name) for name in spark_imgdedup.__all__]
    of_dataframes = [f for f in stages if getattr(f, "__module__", "").startswith("spark_imgdedup.stages.")]

    takes = {f.__name__: next(iter(inspect.signature(f).parameters.values())).annotation for f in of_dataframes}
    assert takes.pop("filters_of") == "ScoreConfig"
    assert takes == {
        "assign_clusters": "DataFrame",
        "embed_images": "DataFrame",
        "fit_centroids": "DataFrame",
        "identify_duplicates": "DataFrame",
        "read_images": "SparkSession",
        "remove_images": "DataFrame",
        "score_images": "DataFrame",
        "score_pairs": "DataFrame",
        "select_in_clusters": "DataFrame",
    }
