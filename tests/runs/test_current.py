"""Which tables are those that the settings and the inputs would make now. No Spark: tables are folders here."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.config.steps import STEP
from spark_imgdedup.counts import ClusterCounts, DetectCounts, IdentifyCounts, ImageCounts, PairwiseCounts, ScoreCounts
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.runs.current import built_on, first_broken, has_hashes, is_current, require_current, stale_step
from spark_imgdedup.runs.fingerprints import fingerprint, models_of
from spark_imgdedup.runs.tables import StepRecord, Tables

COUNTS = {
    "embed": ImageCounts(2),
    "score": ScoreCounts(2),
    "hashes": ImageCounts(2, hashes=("exact",)),
    "detect": DetectCounts(2, copies=0),
    "cluster": ClusterCounts(2, 1, 2),
    "pairwise": PairwiseCounts(2, eps=0.1),
    "identify": IdentifyCounts(0.1, 1),
}
CHAIN = ("embed", "cluster", "pairwise", "identify")


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.tar").write_bytes(bytes(1024))
    return tmp_path / "data"


def tables_for(data, **sections):
    merged = {"input": {"path": str(data)}, "work_dir": str(data.parent / "work")}
    merged |= {"identify": {"eps": 0.1}, "detect": {"prepass": []}, "pairwise": {"which_to_keep": "hard"}}
    return Tables(None, parse_config(merged | sections))


def finish(tables, *steps):
    """Leave tables and records as these steps do."""
    for name in steps:
        for table in STEP[name].written(tables.config):
            Path(tables.path(table)).mkdir(parents=True, exist_ok=True)
        read, models = built_on(name, tables, tables.config), models_of(name, tables.config)
        mark = fingerprint(name, tables.config, read, models)
        tables.finish(StepRecord(name, mark, 1.0, COUNTS[name], read, models=models))


def current(tables):
    return [step for step in CHAIN if is_current(step, tables, tables.config)]


def test_a_search_that_was_made_for_a_smaller_eps_is_not_current(data):
    tables = tables_for(data)
    finish(tables, *CHAIN)

    assert "pairwise" in current(tables_for(data, identify={"eps": 0.05}))
    assert "pairwise" not in current(tables_for(data, identify={"eps": 0.2}))
    assert current(tables_for(data, identify={"eps": 0.2}))[:2] == ["embed", "cluster"]


def test_a_search_that_is_the_same_for_any_eps_stays_current(data):
    tables = tables_for(data)
    finish(tables, "embed", "cluster", "pairwise")
    record = tables.record("pairwise")
    tables.finish(replace(record, counts=PairwiseCounts(2, eps=0.1, for_any_eps=True)))

    assert "pairwise" in current(tables_for(data, identify={"eps": 0.9, "rule": "semdedup"}))
    # What hangs together was told for the eps of the search alone.
    assert "pairwise" not in current(tables_for(data, identify={"eps": 0.9, "rule": "greedy"}))


def test_what_was_just_made_is_current(data):
    tables = tables_for(data)
    finish(tables, *CHAIN)

    assert current(tables) == list(CHAIN)
    require_current("remove", tables, tables.config)


def test_nothing_is_current_where_nothing_has_run(data):
    tables = tables_for(data)

    assert current(tables) == []
    assert stale_step("identify", tables, tables.config) == "identify"


def test_a_new_shard_makes_every_step_stale_and_embed_alone_renews_only_itself(data):
    tables = tables_for(data)
    finish(tables, *CHAIN)
    (data / "b.tar").write_bytes(bytes(1024))

    assert current(tables) == []
    assert stale_step("identify", tables, tables.config) == "embed"
    finish(tables, "embed")
    assert current(tables) == ["embed"]
    assert stale_step("identify", tables, tables.config) == "cluster"


@pytest.mark.parametrize("step", ["pairwise", "identify", "remove"])
def test_the_error_names_the_step_and_the_command_that_renews_it(data, step):
    tables = tables_for(data)
    finish(tables, *CHAIN)
    (data / "b.tar").write_bytes(bytes(1024))
    finish(tables, "embed")

    with pytest.raises(SchemaError, match=rf"^{step}: the tables of cluster, .*: spark-imgdedup cluster --config"):
        require_current(step, tables, tables.config)


def test_a_list_of_ids_asks_for_no_step_before(data):
    tables = tables_for(data, remove={"ids_path": "ids"})

    require_current("remove", tables, tables.config)


def test_a_lost_table_makes_its_step_and_those_after_stale(data):
    tables = tables_for(data)
    finish(tables, *CHAIN)
    shutil.rmtree(tables.path("clusters"))

    assert current(tables) == ["embed"]


def test_other_settings_make_their_step_and_those_after_stale(data):
    finish(tables_for(data), *CHAIN)

    assert current(tables_for(data, pairwise={"which_to_keep": "easy"})) == ["embed", "cluster"]


def test_tables_outlive_the_shards_that_they_were_made_from(data):
    tables = tables_for(data)
    finish(tables, *CHAIN)
    shutil.rmtree(data)

    assert current(tables) == list(CHAIN)
    finish(tables, "cluster")
    assert current(tables) == ["embed", "cluster", "pairwise", "identify"]  # the same fingerprint as before


def test_another_encoder_under_the_same_name_makes_every_step_stale(data, tmp_path):
    weights = tmp_path / "net.onnx"
    weights.write_bytes(b"1")
    tables = tables_for(data, embed={"model": f"onnx:{weights}", "preprocess": {"size": 8}})
    finish(tables, *CHAIN)
    weights.write_bytes(b"2")

    assert stale_step("identify", tables, tables.config) == "embed"
    finish(tables, "embed")
    assert stale_step("identify", tables, tables.config) == "cluster"


def test_an_encoder_that_this_machine_does_not_have_is_believed(data, tmp_path):
    weights = tmp_path / "net.onnx"
    weights.write_bytes(b"1")
    tables = tables_for(data, embed={"model": f"onnx:{weights}", "preprocess": {"size": 8}})
    finish(tables, *CHAIN)
    weights.unlink()

    assert current(tables) == list(CHAIN)


def test_detect_is_current_while_the_hashes_are_there_that_later_steps_read(data):
    tables = tables_for(data, detect={"method": "exact"})
    finish(tables, "hashes", "detect")

    assert is_current("detect", tables, tables.config)
    shutil.rmtree(tables.path("hashes"))
    assert not is_current("detect", tables, tables.config)


def test_hashes_count_only_if_they_are_those_that_are_asked_for(data):
    finish(tables_for(data, detect={"method": "exact"}), "hashes")
    other = tables_for(data, detect={"method": "phash"})

    assert not has_hashes("hashes", other, other.config)


def test_a_record_of_another_shape_is_not_there(data):
    tables = tables_for(data)
    finish(tables, *CHAIN)
    path = data.parent / "work/_steps/cluster.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"counts": {"rows": 2}}))

    assert current(tables) == ["embed"]


def test_the_first_broken_step_is_found_from_the_input_on():
    records = {
        "embed": StepRecord("embed", "e2", 1.0, COUNTS["embed"]),
        "cluster": StepRecord("cluster", "c", 1.0, COUNTS["cluster"], {"embed": "e1"}),
        "pairwise": StepRecord("pairwise", "p", 1.0, COUNTS["pairwise"], {"cluster": "c"}),
    }

    assert first_broken("pairwise", records.get, lambda _: True) == "cluster"
    assert first_broken("embed", records.get, lambda _: True) is None
    assert first_broken("embed", records.get, lambda _: False) == "embed"
    assert first_broken("identify", records.get, lambda _: True) == "identify"


@pytest.mark.parametrize(
    ("file", "step"),
    [
        ("embeddings/part-0.parquet", "embed"),
        ("clusters/part-0.parquet", "cluster"),
        ("blocks/0.parquet", "cluster"),
        ("blocks/index.parquet", "cluster"),
        ("blocks/sample.arrow", "cluster"),
        ("centroids/array.npy", "cluster"),
        ("centroids/manifest.json", "cluster"),
        ("links/000000.parquet", "pairwise"),
        ("duplicates/part-0.parquet", "identify"),
        ("duplicates/._SUCCESS.crc", None),
        ("duplicates/_temporary/0/part-0.parquet", None),
        ("report/report.json", None),
    ],
)
def test_a_table_with_a_file_that_a_power_loss_has_cut_is_made_again(data, caplog, file, step):
    tables = tables_for(data)
    finish(tables, *CHAIN)
    place = Path(tables.path(file))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"PAR1")  # as a file begins
    assert stale_step("identify", tables_for(data), tables.config) == step
    if step is None:
        return
    assert f"{place} is empty or cut off" in caplog.text
    if (table := Path(file).parts[0]) in STEP[step].tables:  # Spark would pass over an empty file without a word
        with pytest.raises(SchemaError, match=f"cut off, .* again: spark-imgdedup {step} --config"):
            tables_for(data).read(table)
    if step != "identify":
        with pytest.raises(SchemaError, match=f"Renew them: spark-imgdedup {step} --config"):
            require_current("identify", tables_for(data), tables.config)


def test_a_cut_file_beside_a_delta_table_decides_nothing(data):
    tables = tables_for(data, table={"format": "delta"})
    finish(tables, *CHAIN)
    (Path(tables.path("duplicates")) / "of-a-write-that-failed.parquet").touch()
    assert stale_step("identify", tables, tables.config) is None


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[[" * 9999, '{"counts": []}', '{"counts": "x", "step": "identify"}']
)
def test_a_damaged_record_means_that_its_step_runs_again(data, text):
    tables = tables_for(data)
    finish(tables, *CHAIN)
    Path(tables.path("_steps/identify.json")).write_text(text)
    assert stale_step("identify", tables, tables.config) == "identify"
