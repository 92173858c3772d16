"""What `spark_imgdedup.run` gives to Python and notebooks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import spark_imgdedup
from spark_imgdedup import Config, Result
from spark_imgdedup.checkup.check import Check
from spark_imgdedup.checkup.diagnosis import Diagnosis
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.report.gallery import Gallery, Row, Shown
from spark_imgdedup.report.summary import Summary
from spark_imgdedup.runs.tables import Tables
from tests.tars import jpeg, make_tar, png

SETTINGS = {
    "embed": {"model": "tests.encoders:ColourEncoder"},
    "detect": {"prepass": ["exact"]},
    "cluster": {"n_clusters": 1},
    "identify": {"eps": 0.01},
    "report": {"page": False},  # its own tests make one
}


@pytest.fixture(scope="module")
def finished(_session, tmp_path_factory):
    """Of six samples: an exact copy, one of the same colours, one that is like none, and one that is no image."""
    folder = tmp_path_factory.mktemp("result")
    images = {"a.jpg": jpeg(1), "b.jpg": jpeg(1), "c.png": png(1, (12, 8)), "d.jpg": jpeg(2), "<i>e</i>.jpg": jpeg(3)}
    make_tar(folder / "in/0.tar", [*sorted(images.items()), ("f.jpg", b"no image")])
    places = {"input": {"path": f"{folder}/in"}, "work_dir": f"{folder}/work", "output": {"path": f"{folder}/out"}}
    return spark_imgdedup.run(Config(**SETTINGS, **places), _session)


@pytest.fixture
def result(finished, spark):
    return finished


def ids(df):
    return {row["image_id"] for row in df.collect()}


def test_the_tables_of_a_run_are_dataframes(result):
    stays = {"0/a", "0/d", "0/<i>e</i>", "0/f"}

    assert ids(result.removed) == ids(result.duplicates) == {"0/b", "0/c"}
    assert ids(result.kept) == stays
    assert ids(result.table("embeddings")) == {*stays, "0/b", "0/c"}
    found = {row["image_id"]: (row["max_id"], row["found_by"]) for row in result.pairs().collect()}
    assert found == {"0/b": ("0/a", "exact"), "0/c": ("0/a", "embedding")}
    with pytest.raises(ConfigError, match=r"called 'duplicate'\. Did you mean 'duplicates'"):
        result.table("duplicate")


def test_pairs_at_another_eps_are_those_that_the_run_lets_stay_too(result):
    near, all_pairs = (result.pairs(eps).collect() for eps in (0.01, 0.999))

    assert [(row["image_id"], row["found_by"], row["kept_id"]) for row in near] == [("0/c", "embedding", "0/a")]
    assert {row["image_id"]: row["found_by"] for row in all_pairs if row["found_by"] is None}
    for eps in (1, -0.1, True, "0.1"):
        with pytest.raises(ConfigError, match=r"eps takes numbers in \[0, 1\)"):
            result.pairs(eps)


def test_small_tables_are_of_pandas_and_add_up(result):
    bins, levels = result.histogram(), result.eps_table()

    assert bins["rows"].sum() == 3  # of four different images the first has none before it
    assert bins["share"].sum() == pytest.approx(1)
    at_own = levels[levels["set_by"] == "identify.eps"].iloc[0]
    assert (at_own["eps"], at_own["rows_removed"], at_own["share"]) == (0.01, 1, 0.25)
    assert list(spark_imgdedup.eps_table(result.tables.config, [0.0, 0.01])["rows_removed"]) == [0, 1]
    with pytest.raises(ConfigError, match="got 2"):
        result.eps_table([0.1, 2])


def test_pictures_of_the_least_similar_pairs_stand_in_the_cell(result):
    gallery = result.gallery(n=1)

    assert (len(gallery.rows), gallery.n_found) == (1, 2)
    assert repr(gallery).splitlines()[1].endswith("0/c  0/a  semantic match: goes")
    html = gallery._repr_html_()
    assert html.count('src="data:image/webp;base64,') == 2
    assert "1 of 2 pairs" in html
    with pytest.raises(ConfigError, match="n is from 1 to 100, got 0"):
        result.gallery(n=0)


def test_counts_report_and_page_are_at_hand_and_a_repr_is_a_few_lines(result):
    assert (result.read, result.summary.kept, dict(result.summary.removed)) == (6, 4, {"duplicate": 2})
    assert result.report["summary"]["read"] == 6
    assert json.dumps(result.report)
    page = Path(result.tables.path("report/index.html"))
    assert result.page is None
    page.write_text("a page")
    assert result.page == str(page)
    lines = repr(result).splitlines()
    assert lines[0].startswith("Result of ")
    assert [line.split()[0] for line in lines[1:]] == ["read", "duplicates", "removed", "kept", "page"]
    html = result._repr_html_()
    for line in result.lines():
        assert f"{line[:12].strip()}</th>" in html
    with pytest.raises(AttributeError, match="'Result' has no attribute 'dupes'"):
        _ = result.dupes


def test_the_sample_is_a_function_that_says_what_it_wrote(result, tmp_path):
    said = spark_imgdedup.sample(result.tables.config, str(tmp_path / "review"), n=1, lowest=True)

    assert (tmp_path / "review/index.html").is_file()
    assert "1 of 2" in said[0]


def test_what_has_not_run_is_named(tmp_path):
    bare = Result(Summary(), Tables(None, Config(work_dir=str(tmp_path))))

    for ask, step in (("duplicates", "identify"), ("removed", "remove"), ("kept", "remove")):
        with pytest.raises(SchemaError, match=f"Run step '{step}' first"):
            getattr(bare, ask)
    with pytest.raises(SchemaError, match="Run step 'report'"):
        _ = bare.report
    assert bare.page is None
    assert repr(bare) == f"Result of {tmp_path}"


def test_names_are_text_in_a_notebook_whatever_they_hold():
    bad = "<script>alert(1)</script>"
    gallery = Gallery((Row(Shown(bad, None, bad), Shown(bad, None, bad), "0.9", bad),), 1)
    summary = Summary(read=1, damaged_shards=(bad,), output=bad, kept=1)

    for html in (gallery._repr_html_(), Result(summary, Tables(None, Config(work_dir=bad)))._repr_html_()):
        assert "<script" not in html
        assert "&lt;script" in html


def test_the_doctor_can_be_called_and_shows_what_the_command_prints():
    found = spark_imgdedup.doctor(Config(input={"path": "nowhere"}), with_spark=False)

    assert not found.is_healthy
    assert "input.path" in found.missing
    assert re.search(r"MISSING +input\.path", repr(found))
    good = Check("python", True, "3.11", "", "", True)
    assert Diagnosis((good,), lambda checks, console: None).is_healthy
