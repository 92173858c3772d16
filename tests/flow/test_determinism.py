"""The same tables, to the last bit, and the same tars, however a run is divided among tasks, cores and files."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from spark_imgdedup.config import parse_config
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.pipeline import run
from spark_imgdedup.report.sample import SampleRequest, export_sample
from spark_imgdedup.runs.tables import Tables
from tests.flow.outcome import differing, outcome
from tests.tars import make_tar

SHARDS = "abcdef"


def saved(image, image_format="PNG"):
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()


def write_tars(folder):
    """Pictures with copies, edits and ties: equal bytes, equal pixels, equal sizes in pixels and in bytes."""
    samples = [b"not a picture"]
    for seed in range(24):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC)
        samples += [saved(picture)] * (1 + seed % 3)
        samples += [saved(picture, "JPEG")] * (seed % 2)
        samples += [saved(ImageOps.mirror(picture)), saved(picture.resize((30, 30)))] if seed % 4 == 0 else []
    order = np.random.default_rng(0).permutation(len(samples))
    for number, name in enumerate(SHARDS):
        mine = order[number :: len(SHARDS)]
        make_tar(folder / f"{name}.tar", [(f"{place:03}.png", samples[place]) for place in mine])


def write_vectors(folder, parts=1, seed=None, row_group=None):
    """Rows in every direction, many borders; copies, near copies, a crowd; in files as the arguments say."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((1200, 8))
    near = rows[:200] + 0.03 * rng.standard_normal((200, 8))
    crowd = rows[5] + 0.02 * rng.standard_normal((200, 8))
    vectors = l2_normalize(np.concatenate([rows, rows[:100], near, crowd]))
    order = np.arange(len(vectors)) if seed is None else np.random.default_rng(seed).permutation(len(vectors))
    ids, sizes = pa.array([f"clip {place}" for place in order]), pa.array(order % 5)
    columns = {"id": ids, "embedding": pa.array(vectors[order].tolist(), pa.list_(pa.float32())), "size": sizes}
    folder.mkdir()
    for part, places in enumerate(np.array_split(np.arange(len(order)), parts)):
        table = pa.table(columns).take(pa.array(places))
        pq.write_table(table, folder / f"{(part * 7) % parts}.parquet", row_group_size=row_group)


def of_tars(**sections):
    base = {
        "input": {"path": "data"},
        "output": {"path": "out"},
        "work_dir": "work",
        "embed": {"model": "tests.encoders:ColourEncoder", "batch_size": 16},
        "detect": {"prepass": ["exact", "phash"]},
        "cluster": {"n_clusters": 3},
        "identify": {"eps": 0.01},
    }
    return merged(base, sections)


def of_vectors(**sections):
    cluster = {"embeddings_path": "mine", "n_clusters": 7, "metadata_columns": ["size"]}
    ranked = {"which_to_keep": "metadata", "metadata_columns": ["size"], "target_recall": 0.9}
    base = {"work_dir": "work", "cluster": cluster, "pairwise": ranked, "identify": {"eps": 0.02}}
    return merged(base, sections)


def merged(base, sections):
    return base | {
        name: base.get(name, {}) | section if isinstance(section, dict) else section
        for name, section in sections.items()
    }


def divided(spark, conf):
    """Set Spark's own settings, and give what takes them back."""
    before = {name: spark.conf.get(name) for name in conf}
    for name, value in conf.items():
        spark.conf.set(name, value)
    return before


@pytest.fixture
def taken(spark, tmp_path, monkeypatch):
    """Runs settings in a new folder, and gives what is left there."""

    def take(settings, write, conf=None, sample=False):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        write(folder)
        config = parse_config(settings)
        before = divided(spark, conf or {})
        try:
            run(config, spark)
            if sample:
                export_sample(Tables(spark, config), SampleRequest(to="sample", n=5))
        finally:
            divided(spark, before)
        return outcome(folder)

    return take


ONE_TASK = {"spark.sql.shuffle.partitions": "1"}
ODD_TASKS = {"spark.sql.shuffle.partitions": "7", "spark.sql.adaptive.enabled": "false"}


def tars(folder):
    write_tars(folder / "data")


@pytest.mark.slow
def test_tars_give_the_same_however_work_is_divided(taken):
    whole = taken(of_tars(), tars, sample=True)
    reversed_paths = [f"data/{name}.tar" for name in reversed(SHARDS)]
    others = of_tars(
        input={"path": reversed_paths, "root": "data"},
        embed={"batch_size": 3, "decode_threads": 3},
        pairwise={"batch_size": 5},
    )

    assert len(whole["duplicates"]) > 30
    assert differing(whole, taken(others, tars, ODD_TASKS, sample=True)) == []


def test_vectors_give_the_same_in_whatever_files_and_order_they_lie(taken):
    whole = taken(of_vectors(), lambda folder: write_vectors(folder / "mine"))
    others = of_vectors(pairwise={"batch_size": 33}, cluster={"train_threads": 2})
    others_left = taken(others, lambda folder: write_vectors(folder / "mine", parts=5, seed=1, row_group=60), ODD_TASKS)

    # So many that not all of the crowd's are looked at.
    assert whole["counts of pairwise"]["recall"]["pairs"] > 200
    assert differing(whole, others_left) == []


SEARCHES = {
    "components, by a hash": {"identify": {"rule": "components"}, "pairwise": {"which_to_keep": "random"}},
    "semdedup, in two clusters": {"identify": {"rule": "semdedup"}, "pairwise": {"probes": 2}},
    "greedy, all pairs": {"pairwise": {"which_to_keep": "hard", "probes": "all"}},
    "greedy, at borders": {"pairwise": {"which_to_keep": "easy", "probes": "margin", "probe_margin": 0.4}},
}


@pytest.mark.slow
@pytest.mark.parametrize("search", SEARCHES)
def test_every_search_and_rule_gives_the_same_however_vectors_are_divided(taken, search):
    base = of_vectors(pairwise={"metadata_columns": []})
    settings = merged(base, SEARCHES[search]) | {
        "pairwise": SEARCHES[search]["pairwise"],
        "cluster": base["cluster"] | {"n_clusters": "auto", "sample_rows": 600},
    }
    whole = taken(settings, lambda folder: write_vectors(folder / "mine"))

    few = taken(settings, lambda folder: write_vectors(folder / "mine", parts=3, seed=2), ONE_TASK)
    many = taken(settings, lambda folder: write_vectors(folder / "mine", parts=9, seed=3, row_group=25), ODD_TASKS)

    assert len(whole["duplicates"]) > 100
    assert differing(whole, few) == []
    assert differing(whole, many) == []


@pytest.mark.slow
def test_cores_and_the_order_of_pythons_sets_do_not_show(tmp_path):
    left = []
    for cores, seed in ((1, "1"), (2, "2")):
        folder = tmp_path / seed
        tars(folder)
        settings = of_tars(output={"path": "out", "repack": 17}, spark={"spark.master": f"local[{cores}]"})
        (folder / "run.yaml").write_text(json.dumps(settings))  # JSON is YAML
        words = [sys.executable, "-m", "spark_imgdedup", "run", "--config", "run.yaml"]
        there = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([*sys.path])}
        subprocess.run(words, cwd=folder, env=there, check=True, capture_output=True)
        left.append(outcome(folder))

    assert len([name for name in left[0] if name.endswith(".tar")]) > 1
    assert differing(*left) == []
