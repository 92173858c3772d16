"""Filters through the whole flow: before the search for duplicates, after it, and without one."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, ModelError, SchemaError
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs.tables import Tables
from tests.flow.tiny import copy_run
from tests.report.page.pages import text_of
from tests.tars import make_tar, members_of, picture, png

BRIGHT = picture(1).point(lambda value: min(255, value + 10))
BEFORE = ["embed", "score", "cluster", "pairwise", "identify", "remove"]
AFTER = ["embed", "cluster", "pairwise", "identify", "score", "remove"]


def brightness(image):
    return float(np.asarray(image, np.float64).mean())


LIMIT = (brightness(BRIGHT) + brightness(picture(1))) / 2


def config_with(steps, *, page=False, **score):
    return parse_config(
        {
            "steps": [*steps, "report"] if page else steps,
            "input": {"path": "data"},
            "output": {"path": "out"},
            "work_dir": "work",
            "embed": {"model": "tests.encoders:ColourEncoder", "pixel_scorers": ["tests.scorers:Brightness"]},
            "score": score or {"scorers": [{"name": "brightness", "max_score": LIMIT}]},
            "cluster": {"metadata_columns": ["brightness_score"]},
            # The brighter one is to stay.
            "pairwise": {
                "which_to_keep": "metadata",
                "metadata_columns": ["brightness_score"],
                "ascending": False,
            },
            "identify": {"eps": 0.05},
            "report": {"page": page},
        }
    )


def write_pictures(folder):
    """Three pictures: `pale` repeats `plain` and is brighter, `other` is darker than both, `none` is no picture."""
    file = io.BytesIO()
    BRIGHT.save(file, "PNG")
    members = [("other.png", png(2)), ("pale.png", file.getvalue()), ("plain.png", png(1)), ("none.txt", b"words")]
    make_tar(folder / "data/s.tar", members)
    assert brightness(picture(2)) < LIMIT


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Makes settings for a folder in which nothing has run."""
    write_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return config_with


@pytest.fixture(scope="module")
def filtered(_session, tmp_path_factory):
    """The folder and the summary of a run that filters before the search."""
    folder = tmp_path_factory.mktemp("filtered")
    write_pictures(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, run(config_with(BEFORE, page=True), _session)


@pytest.fixture
def settings_again(filtered, tmp_path, monkeypatch):
    """Makes settings for a copy of that run."""
    copy_run(filtered[0], tmp_path)
    monkeypatch.chdir(tmp_path)
    return config_with


def keys_written(folder):
    return sorted(name.partition(".")[0] for name, _ in members_of(folder / "out/s.tar"))


@pytest.mark.connect
def test_what_a_filter_rejects_before_the_search_takes_no_part_in_it(filtered):
    folder, summary = filtered

    assert summary.removed == {"brightness": 1}
    assert summary.duplicates == 0
    assert keys_written(folder) == ["none", "other", "plain"]
    assert "score brightness 1 s/pale 1 of 1; all: rejected_because in" in text_of(folder / "work")


def test_after_the_search_an_image_may_have_left_as_the_duplicate_of_a_rejected_one(spark, settings, tmp_path):
    summary = run(settings(AFTER), spark)

    assert summary.removed == {"brightness": 1, "duplicate": 1}
    assert keys_written(tmp_path) == ["none", "other"]


def test_a_filter_needs_no_search_for_duplicates(spark, settings, tmp_path):
    config = settings(["embed", "score", "remove"])

    summary = run(config, spark)

    assert summary.removed == {"brightness": 1}
    assert (summary.read, summary.kept) == (4, 3)
    scored = {row["key"]: row for row in Tables(None, config).read("scored").collect()}
    assert scored["pale"]["rejected_because"] == "brightness"
    assert scored["plain"]["brightness_score"] == pytest.approx(brightness(picture(1)), abs=1e-3)
    assert (scored["none"]["rejected_because"], scored["none"]["brightness_score"]) == ("no_image", None)


def test_a_new_limit_runs_from_score_and_not_the_model(spark, settings_again, tmp_path):
    embedded = (tmp_path / "work/_steps/embed.json").read_text()

    summary = run(settings_again(BEFORE, scorers=[{"name": "brightness", "max_score": 255}]), spark)

    assert (tmp_path / "work/_steps/embed.json").read_text() == embedded
    assert summary.removed == {"duplicate": 1}
    assert keys_written(tmp_path) == ["none", "other", "pale"]


def test_rejected_images_stay_in_the_dataset_where_remove_is_told_so(spark, settings_again, tmp_path):
    config = settings_again(BEFORE)
    config = config.model_copy(update={"remove": config.remove.model_copy(update={"drop": ("duplicates",)})})

    assert run(config, spark).removed == {}
    assert keys_written(tmp_path) == ["none", "other", "pale", "plain"]


def test_scores_of_another_input_are_not_taken_for_those_of_this_one(spark, settings_again, tmp_path):
    make_tar(tmp_path / "data/t.tar", [("new.png", png(5))])

    with pytest.raises(SchemaError, match=r"^remove: the tables of embed, which it builds on"):
        run(settings_again(BEFORE), spark, steps=["remove"])


@pytest.mark.parametrize(("model", "dim"), [("tests.encoders:ColourEncoder", 48), ("efficientnet-lite0", 1280)])
def test_a_head_of_another_width_than_the_encoders_is_an_error(spark, settings, tmp_path, model, dim):
    np.savez(tmp_path / "head.npz", weight=np.ones((768, 1)))
    config = settings(BEFORE, aesthetic_head="head.npz")
    config = config.model_copy(update={"embed": config.embed.model_copy(update={"model": model})})

    with pytest.raises(ModelError, match=rf"'head\.npz' takes embeddings of 768 numbers, but these have {dim}"):
        run(config, spark)

    # A width that is known is compared before any work.
    assert (tmp_path / "work/embeddings").exists() == (dim == 48)


@pytest.mark.parametrize(
    ("score", "error", "message"),
    [
        ({"aesthetic_head": "nowhere.npz"}, ModelError, "nowhere.npz"),
        ({"scorers": [{"name": "looks", "scorer": "tests.scorers:Nobody"}]}, ModelError, "has no 'Nobody'"),
        ({"scorers": [{"name": "looks"}]}, ConfigError, "no step makes a column looks_score"),
        (
            {"scorers": [{"name": "brightness"}, {"name": "brightness"}]},
            ConfigError,
            "Two filters are named brightness",
        ),
    ],
)
def test_filters_that_cannot_work_are_refused_before_any_work(spark, settings, tmp_path, score, error, message):
    with pytest.raises(error, match=message):
        run(settings(BEFORE, **score), spark)

    assert not (tmp_path / "work").exists()


def test_embeddings_of_your_own_are_filtered_and_the_clips_of_rejected_ones_leave(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    members = [(f"{key}.mp4", key.encode() * 50) for key in ("good", "copy", "poor")]
    make_tar(tmp_path / "clips/s.tar", members)
    vectors = [[1.0, 0.1], [1.0, 0.1], [0.1, 1.0], [0.0, 0.0]]
    ids = ["s/good", "s/copy", "s/poor", "s/gone"]
    pq.write_table(pa.table({"id": ids, "embedding": vectors}), tmp_path / "clips.parquet")
    config = parse_config(
        {
            "input": {"path": "clips"},
            "output": {"path": "out"},
            "work_dir": "work",
            "report": {"page": False},
            "cluster": {"embeddings_path": "clips.parquet"},
            "score": {"scorers": [{"name": "first", "scorer": "tests.scorers:FirstNumber", "min_score": 0.5}]},
        }
    )

    summary = run(config, spark)

    assert summary.removed == {"duplicate": 1, "first": 1}
    assert [name for name, _ in members_of(tmp_path / "out/s.tar")] == ["good.mp4"]


def test_the_picture_that_is_brighter_is_that(settings):
    assert brightness(Image.open(io.BytesIO(png(1)))) == brightness(picture(1))
