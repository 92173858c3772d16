"""Which copy stays, and what nobody may lose: whole runs on pictures whose copies are known."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from spark_imgdedup.config import parse_config
from spark_imgdedup.pipeline import run
from spark_imgdedup.report.eps_table import survey_run
from spark_imgdedup.runs.tables import Tables
from tests.flow.tiny import copy_run, without_report
from tests.report.page.pages import text_of
from tests.tars import make_tar


def saved(image, image_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def picture(seed, side=96):
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


LARGE = picture(1)
SAMPLES = {
    "a-small.png": saved(LARGE.resize((48, 48), Image.Resampling.LANCZOS)),
    "b-large.png": saved(LARGE),
    "c-grey.png": saved(LARGE.convert("L")),
    "d-copy.png": saved(LARGE.resize((48, 48), Image.Resampling.LANCZOS)),
    "e-mirrored.png": saved(ImageOps.mirror(LARGE).resize((64, 64), Image.Resampling.LANCZOS)),
    "f-other.png": saved(picture(2)),
    "g-red.png": saved(Image.new("RGB", (64, 64), (200, 30, 30))),
    "h-green.png": saved(Image.new("RGB", (64, 64), (30, 200, 30))),
    "i-red.webp": saved(Image.new("RGB", (64, 64), (200, 30, 30)), "WEBP", quality=90),
}
OTHERS = dict.fromkeys(("a-small", "c-grey", "d-copy", "e-mirrored"), "b-large")


def config_with(**sections):
    base = {
        "input": {"path": "data"},
        "output": {"path": "out"},
        "work_dir": "work",
        "embed": {"model": "tests.encoders:ColourEncoder", "batch_size": 4},
        "detect": {"prepass": ["exact", "phash"]},
        "identify": {"eps": 0.001},
    }
    return parse_config(without_report(base | sections))


@pytest.fixture(scope="module")
def scored(_session, tmp_path_factory):
    """The folder of a run that ended with the scores of its pairs, on which every rule builds."""
    folder = tmp_path_factory.mktemp("scored")
    make_tar(folder / "data/s.tar", list(SAMPLES.items()))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(config_with(), _session, steps=["embed", "detect", "cluster", "pairwise"])
    return folder


@pytest.fixture
def settings(scored, tmp_path, monkeypatch):
    """Makes settings for a copy of that run, which takes again what they change."""
    copy_run(scored, tmp_path)
    monkeypatch.chdir(tmp_path)
    return config_with


def kept_for(config):
    rows = Tables(None, config).read("duplicates").collect()
    return {row["image_id"][2:]: row["kept_id"][2:] for row in rows}


def test_by_default_the_largest_colour_copy_stays_and_nothing_is_lost(spark, settings, tmp_path):
    config = settings()

    summary = run(config, spark)

    assert kept_for(config) == OTHERS | {"i-red": "g-red"} or kept_for(config) == OTHERS | {"g-red": "i-red"}
    assert (summary.rule, summary.uncovered, summary.wiped_out, summary.groups) == ("greedy", 0, 0, 2)
    report = json.loads((tmp_path / "work/report/report.json").read_text())["summary"]
    assert (report["uncovered"], report["wiped_out"]) == (0, 0)
    assert any("uncovered    0" in line and "groups wiped out: 0 of 2" in line for line in summary.lines())
    rows = {row["image_id"][2:]: row for row in Tables(None, config).read("duplicates").collect()}
    small = rows["a-small"]
    assert (small["pixels"], small["kept_pixels"], small["rule"]) == (48 * 48, 96 * 96, "greedy")
    assert (rows["d-copy"]["found_by"], rows["e-mirrored"]["hamming"]) == ("exact", rows["e-mirrored"]["hamming"])
    assert {rows["g-red" if "g-red" in rows else "i-red"]["found_by"]} == {"pixels"}
    assert {row["group_id"][2:] for name, row in rows.items() if name in OTHERS} == {"b-large"}


def test_keep_in_words_decides_which_copy_stays(spark, settings):
    config = settings(pairwise={"keep": "pixels asc, is_grey desc"})

    run(config, spark, steps=["embed", "detect", "cluster", "pairwise", "identify"])

    assert set(kept_for(config).values()) - {"g-red", "i-red"} == {"a-small"}


@pytest.mark.parametrize("rule", ["greedy", "components", "semdedup"])
def test_images_that_must_stay_stay_and_their_copies_go(spark, settings, rule):
    never = ["s/d-copy", "s/c-grey", "s/f-other", "elsewhere"]
    pq.write_table(pa.table({"image_id": never}), "never.parquet")
    report = {"page": rule == "semdedup"}  # its scores alone make the curve
    config = settings(remove={"never": "never.parquet"}, identify={"eps": 0.001, "rule": rule}, report=report)

    summary = run(config, spark)

    found = kept_for(config)
    assert not {"d-copy", "c-grey", "f-other"} & set(found)
    if rule != "semdedup":  # which has no order of its own for them
        assert {"a-small", "b-large", "e-mirrored"} <= set(found)
        assert set(found.values()) <= {"d-copy", "c-grey", "g-red", "i-red"}
        assert summary.both_stay == 1
        assert any("must stay" in line for line in summary.lines())
    assert not set(found) & set(found.values())
    if rule == "semdedup":
        said = text_of("work")
        assert "has a better-ranked row that near" in said
        assert "Semantic match, found by embedding; rule semdedup: goes for" in said


@pytest.mark.parametrize("rule", ["greedy", "components"])
def test_the_sweep_of_eps_counts_what_identify_removes_at_each(spark, settings, rule):
    config = settings(identify={"eps": 0.2, "rule": rule}, pairwise={"max_eps": 0.2})
    run(config, spark, steps=["embed", "detect", "cluster", "pairwise"])
    levels = [round(0.01 * step, 3) for step in range(21)]

    survey = survey_run(Tables(None, config), config, levels, [])

    assert len(survey.levels) == 21
    for level in survey.levels[::5]:
        at = config.model_copy(update={"identify": config.identify.model_copy(update={"eps": level.eps})})
        run(at, spark, steps=["identify"])
        rows = Tables(None, at).read("duplicates").collect()
        assert level.n_removed == sum(row["found_by"] != "exact" for row in rows)


def test_a_larger_eps_finds_what_a_smaller_one_before_it_left(spark, settings):
    found = []
    for eps in (0.0, 0.9, 0.0):
        config = settings(identify={"eps": eps}, detect={"prepass": []})
        run(config, spark, steps=["embed", "cluster", "pairwise", "identify"])
        found.append(set(kept_for(config)))

    first, larger, again = found
    assert first < larger
    assert again == first


def test_an_eps_beyond_the_search_is_looked_at_no_further(spark, settings, caplog):
    config = settings(identify={"eps": 0.01})
    run(config, spark, steps=["embed", "detect", "cluster", "pairwise"])

    with caplog.at_level("WARNING"):
        survey = survey_run(Tables(None, config), config, [0.0, 0.01, 0.4], [])

    assert [level.eps for level in survey.levels] == [0.0, 0.01]
    assert "set pairwise.max_eps" in caplog.text
