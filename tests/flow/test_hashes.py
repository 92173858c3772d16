"""Exact copies and perceptual hashes through the whole flow: alone, before the embeddings, and from pass to pass."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.kernels.hashes import hamming_distances, perceptual_hash
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs.tables import Tables
from tests.flow import tiny
from tests.report.page.pages import text_of
from tests.tars import make_tar, members_of


def saved(image, image_format):
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()


def detailed(seed):
    """A picture whose every frequency has some weight, so that no bit of its hash hangs on rounding."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)


FIRST = saved(detailed(1), "JPEG")
SAMPLES = {
    "0": ("jpg", FIRST),
    "1": ("jpg", FIRST),  # the same bytes
    "2": ("png", saved(Image.open(io.BytesIO(FIRST)), "PNG")),  # the same pixels
    "3": ("png", saved(detailed(1).point(lambda value: value // 2), "PNG")),  # dark: the hash alone is near
    "4": ("png", saved(detailed(2), "PNG")),
    "5": ("png", b"no picture"),
}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_tar(tmp_path / "data/s.tar", [(f"{key}.{kind}", data) for key, (kind, data) in SAMPLES.items()])

    def make(**detect):
        return tiny.settings(detect=detect, report={"page": "method" in detect})

    return make


def duplicates(config):
    rows = Tables(None, config).read("duplicates").collect()
    return {row["image_id"].partition("/")[2]: (row["max_id"].partition("/")[2], row["found_by"]) for row in rows}


def keys_written(folder):
    return sorted(name.partition(".")[0] for name, _ in members_of(folder / "out/s.tar"))


def test_the_dark_picture_keeps_its_hash_and_not_its_colours():
    images = [Image.open(io.BytesIO(SAMPLES[key][1])).convert("RGB") for key in "034"]
    hashes = [perceptual_hash(image, n_bits=64) for image in images]

    matrix = np.frombuffer(b"".join(hashes), np.uint8).reshape(3, 8)
    itself, dark, other = hamming_distances(matrix, matrix)[0].tolist()
    assert itself == 0
    assert dark <= 3
    assert other > 8


def test_exact_copies_are_found_by_bytes_and_by_pixels_without_a_model(spark, settings, tmp_path):
    config = settings(method="exact")

    summary = run(config, spark)

    assert duplicates(config) == {"0": ("2", "exact"), "1": ("2", "exact")}
    assert keys_written(tmp_path) == ["2", "3", "4", "5"]
    assert not (tmp_path / "work/embeddings").exists()
    assert (summary.read, summary.duplicates, summary.eps, summary.removed) == (6, 2, None, {"duplicate": 2})
    said = text_of(tmp_path / "work")
    assert "2 of 2 pairs, found by same bytes or same pixels" in said
    assert "1 of 1 groups" in said
    assert "What each threshold would remove" not in said


def test_near_hashes_are_found_without_a_model_and_a_larger_radius_runs_no_pass_over_the_images(
    spark, settings, tmp_path
):
    config = settings(method="phash")
    run(config, spark)
    made = (tmp_path / "work/_steps/hashes.json").read_text()

    assert duplicates(config) == {key: ("2", "phash") for key in "013"}  # of as many pixels it has the most bytes
    assert text_of(tmp_path / "work").count("Near copy, found by perceptual hash; rule greedy: goes for the image") == 3
    assert keys_written(tmp_path) == ["2", "4", "5"]

    wider = settings(method="phash", phash_radius=6)
    run(wider, spark, steps=["detect", "identify"])

    assert (tmp_path / "work/_steps/hashes.json").read_text() == made
    assert duplicates(wider) == {key: ("2", "phash") for key in "013"}


@pytest.mark.connect
def test_a_prepass_collapses_copies_and_adds_the_pairs_of_near_hashes(spark, settings, tmp_path):
    alone, cascade = settings(prepass=[]), settings(prepass=["exact", "phash"])
    run(alone, spark, steps=["embed", "cluster", "pairwise", "identify"])
    embedded = (tmp_path / "work/_steps/embed.json").read_text()
    by_embedding = duplicates(alone)

    summary = run(cascade, spark)

    assert len(by_embedding) == 2
    assert by_embedding.keys() < set("012")
    assert (tmp_path / "work/_steps/embed.json").read_text() == embedded  # the model did not run again
    found = duplicates(cascade)
    assert {key: found[key] for key in "01"} == {"0": ("2", "exact"), "1": ("2", "exact")}
    assert {key: found[key] for key in found.keys() - set("01")} in ({"2": ("3", "phash")}, {"3": ("2", "phash")})
    clusters = Tables(None, cascade).read("clusters").select("image_id", "dup_count").collect()
    assert {row["image_id"]: row["dup_count"] for row in clusters} == {"s/2": 2, "s/3": 0, "s/4": 0}
    assert (summary.read, summary.kept, summary.removed) == (6, 3, {"duplicate": 3})


@pytest.mark.parametrize("which", ["easy", "hard", "random"])
def test_the_prepass_keeps_one_of_each_group_for_any_ranking(spark, settings, which):
    config = settings(prepass=["phash"])
    config = config.model_copy(update={"pairwise": config.pairwise.model_copy(update={"which_to_keep": which})})

    run(config, spark, steps=["embed", "detect", "cluster", "pairwise", "identify"])

    assert len(duplicates(config).keys() & set("0123")) == 3
    assert "4" not in duplicates(config)


def test_the_share_to_keep_counts_what_hashes_remove(spark, settings):
    config = settings(prepass=["exact", "phash"])
    share = config.identify.model_copy(update={"eps": None, "target_keep_fraction": 0.4})

    run(config.model_copy(update={"identify": share}), spark, steps=["embed", "detect", "cluster", "pairwise"])
    run(config.model_copy(update={"identify": share}), spark, steps=["identify"])

    # 5 images, of which hashes remove 3: none may go for its embedding.
    assert len(duplicates(config)) == 3
    too_much = share.model_copy(update={"target_keep_fraction": 0.6})
    with pytest.raises(ConfigError, match=r"0\.6 cannot be kept"):
        run(config.model_copy(update={"identify": too_much}), spark, steps=["identify"])


def test_the_record_of_detect_states_the_recall_beyond_the_lossless_radius(spark, settings, tmp_path):
    run(settings(method="phash", phash_radius=8), spark, steps=["detect"])

    counts = json.loads((tmp_path / "work/_steps/detect.json").read_text())["counts"]
    assert counts["lossless_radius"] == 6
    assert list(counts["expected_recall"]) == ["7", "8"]
    assert 0.9 < counts["expected_recall"]["8"] < counts["expected_recall"]["7"] < 1


def test_a_step_whose_input_nobody_makes_is_refused_before_any_work(spark, settings, tmp_path):
    with pytest.raises(SchemaError, match="cluster needs the tables of step 'embed', which is not among the steps"):
        run(settings(), spark, steps=["cluster", "pairwise"])
    with pytest.raises(ConfigError, match=r"cluster: detect\.method is exact, which takes no embeddings"):
        run(settings(method="exact"), spark, steps=["cluster"])
    assert not (tmp_path / "work").exists()
