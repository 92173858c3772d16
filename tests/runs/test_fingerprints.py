"""What makes a step run again, and what does not."""

from __future__ import annotations

import os

import pytest

from spark_imgdedup.config import Config, parse_config
from spark_imgdedup.config.steps import STEP
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.runs.fingerprints import fingerprint, models_of, row_settings

STEPS = ("embed", "cluster", "pairwise", "identify", "remove")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.tar").write_bytes(bytes(1024))
    return folder


def settings(data, **sections):
    merged = {"input": {"path": str(data)}, "output": {"path": str(data.parent / "out")}, "identify": {"eps": 0.1}}
    merged |= {"detect": {"prepass": []}, "pairwise": {"which_to_keep": "hard"}}
    for name, section in sections.items():
        merged[name] = merged.get(name, {}) | section
    return parse_config(merged)


def chain(config):
    """The fingerprint of each step in a run of all of them."""
    marks = {}
    for step in STEPS:
        read = {before: marks[before] for before in STEP[step].built_on(config)}
        marks[step] = fingerprint(step, config, read, models_of(step, config))
    return marks


def changed(one, other):
    return [step for step in STEPS if one[step] != other[step]]


@pytest.mark.parametrize(
    ("section", "setting", "steps"),
    [
        ("embed", {"precision": "bf16"}, STEPS),
        ("embed", {"model": "timm:resnet50.a1_in1k"}, STEPS),
        ("input", {"image_member": "jpg"}, STEPS),
        ("input", {"max_image_pixels": 9}, STEPS),
        ("table", {"embedding_type": "float32"}, STEPS),
        ("cluster", {"n_clusters": 3}, STEPS[1:]),
        ("cluster", {"random_state": 7}, STEPS[1:]),
        ("cluster", {"max_iter": 2}, STEPS[1:]),
        ("cluster", {"metadata_columns": ["width"]}, STEPS[1:]),
        ("pairwise", {"which_to_keep": "easy"}, STEPS[2:]),
        ("pairwise", {"distance_metric": "l2"}, []),
        ("pairwise", {"which_to_keep": "metadata", "metadata_columns": ["image_id"]}, STEPS[2:]),
        ("pairwise", {"which_to_keep": "best"}, STEPS[1:]),  # the columns that it ranks by go along from cluster on
        ("pairwise", {"keep": "pixels desc", "which_to_keep": "auto"}, STEPS[1:]),
        ("identify", {"eps": 0.2}, STEPS[3:]),
        ("identify", {"rule": "components"}, STEPS[3:]),
        ("remove", {"unreadable": "drop"}, STEPS[4:]),
        ("output", {"repack": 10}, STEPS[4:]),
        ("embed", {"batch_size": 7}, ()),
        ("embed", {"decode_threads": 3}, ()),
        ("embed", {"device": "cpu"}, ()),
        ("embed", {"model_dir": "elsewhere"}, ()),
        ("pairwise", {"batch_size": 7}, ()),
        ("report", {"recall_sample": 7}, STEPS[2:]),
        ("report", {"page": False, "images": False}, ()),
        ("input", {"storage_options": {"auto_mkdir": True}}, ()),
        ("spark", {"spark.driver.memory": "3g"}, ()),
    ],
)
def test_a_setting_counts_for_the_steps_whose_result_it_decides(data, section, setting, steps):
    before = chain(settings(data))

    assert changed(before, chain(settings(data, **{section: setting}))) == list(steps)


def test_the_same_settings_and_files_have_the_same_fingerprints(data):
    assert chain(settings(data)) == chain(settings(data))


def test_the_columns_to_rank_by_and_their_directions_count(data):
    ranking = {"which_to_keep": "metadata", "metadata_columns": ["image_id", "cosine_dist_to_cent"]}
    before = chain(settings(data, pairwise=ranking))

    turned = chain(settings(data, pairwise=ranking | {"ascending": [True, False]}))
    swapped = chain(settings(data, pairwise=ranking | {"metadata_columns": ranking["metadata_columns"][::-1]}))

    assert changed(before, turned) == changed(before, swapped) == list(STEPS[2:])


def touch_later(path):
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


@pytest.mark.parametrize("change", ["add", "drop", "grow", "touch"])
def test_a_changed_shard_counts_for_every_step(data, change):
    before = chain(settings(data))
    if change == "add":
        (data / "c.tar").write_bytes(b"x")
    elif change == "drop":
        (data / "b.tar").unlink()
    elif change == "grow":
        (data / "b.tar").write_bytes(bytes(2048))
    else:
        touch_later(data / "b.tar")

    assert changed(before, chain(settings(data))) == list(STEPS)


def test_own_embeddings_count_from_clustering_on(data, tmp_path):
    (tmp_path / "mine.parquet").write_bytes(b"1")
    config = settings(data, cluster={"embeddings_path": str(tmp_path / "mine.parquet")})
    before = chain(config)
    touch_later(tmp_path / "mine.parquet")

    assert changed(before, chain(config)) == list(STEPS[1:])
    assert STEP["cluster"].built_on(config) == ()


def test_the_ids_beside_the_folder_of_the_vectors_count_too(data, tmp_path):
    for name in ("clip/img_emb/img_emb_0.npy", "clip/metadata/metadata_0.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    config = settings(data, cluster={"embeddings_path": str(tmp_path / "clip/img_emb")})
    before = chain(config)
    touch_later(tmp_path / "clip/metadata/metadata_0.parquet")

    assert changed(before, chain(config)) == list(STEPS[1:])


def test_a_list_of_ids_takes_the_place_of_the_duplicates(data, tmp_path):
    ids = tmp_path / "ids.parquet"
    ids.write_bytes(b"1")
    config = settings(data, remove={"ids_path": str(ids)})
    before = chain(config)
    touch_later(ids)

    assert STEP["remove"].built_on(config) == ()
    assert changed(before, chain(config)) == ["remove"]
    assert changed(chain(config), chain(settings(data, remove={"ids_path": [str(ids)]}))) == ["remove"]


def test_weights_on_disk_count(data, tmp_path):
    weights = tmp_path / "net.onnx"
    weights.write_bytes(b"1")
    config = settings(data, embed={"model": f"onnx:{weights}", "preprocess": {"size": 8}})
    before = chain(config)
    weights.write_bytes(b"22")

    assert changed(before, chain(config)) == list(STEPS)


def test_a_step_counts_by_what_it_was_built_on(data):
    config = settings(data)

    assert fingerprint("identify", config, {"pairwise": "1"}) != fingerprint("identify", config, {"pairwise": "2"})


def test_an_input_that_has_vanished_is_missed_by_the_steps_that_read_it_only(data):
    config = settings(data)
    for tar in data.iterdir():
        tar.unlink()

    for step in ("embed", "remove"):
        with pytest.raises(ConfigError, match=r"no \.tar, image or table found"):
            fingerprint(step, config, {})
    assert fingerprint("cluster", config, {"embed": "1"})
    assert fingerprint("identify", config, {"pairwise": "1"})


def test_a_fingerprint_needs_no_input_that_is_not_set():
    assert len(fingerprint("identify", Config(), {})) == 16


@pytest.mark.parametrize(
    ("sections", "is_same"),
    [
        ({"input": {"root": "data", "path": ["data/a", "data/b"]}}, True),
        ({"input": {"root": "data", "path": ["data/a", "data/c"]}}, True),  # what grows with the days
        ({"input": {"root": "data", "storage_options": {"profile": "mine"}}}, True),
        ({"embed": {"batch_size": 5, "device": "cpu"}}, True),
        ({"cluster": {"n_clusters": 3}, "identify": {"eps": 0.2}}, True),
        ({"input": {"root": "elsewhere"}}, False),
        ({"input": {"path": "data/a", "root": None}}, False),
        ({"input": {"trim_borders": False}}, False),
        ({"input": {"json_fields": ["caption"]}}, False),
        ({"embed": {"precision": "bf16"}}, False),
        ({"table": {"embedding_type": "array"}}, False),
        ({"detect": {"prepass": ["exact", "phash"]}}, False),
        ({"detect": {"phash_bits": 256}}, False),
    ],
    ids=str,
)
def test_what_an_image_becomes_is_decided_by_other_settings_than_which_images_there_are(sections, is_same):
    ours = {"input": {"path": "data/a", "root": "data"}, "detect": {"prepass": ["phash"]}}

    def rows(sections):
        merged = {name: ours.get(name, {}) | sections.get(name, {}) for name in ours | sections}
        return row_settings("embed", parse_config(merged), {"model": "its weights"})

    assert (rows(sections) == rows({})) == is_same
    assert row_settings("embed", parse_config(ours), {"model": "other weights"}) != rows({})
