"""What a run skips, does again and refuses where another one has been: on copies of one finished run."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files.owning.work_dir import require_ours
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs.current import stale_step
from spark_imgdedup.runs.plan import resolve_eps
from spark_imgdedup.runs.tables import WRITTEN_BY, Tables
from tests.flow.tiny import STEPS, files_of, record_of, settings, steps_done
from tests.tars import jpeg, make_tar


@pytest.mark.connect
def test_a_second_run_skips_every_step_and_touches_nothing(spark, finished, caplog):
    tables, output = files_of(finished / "work/embeddings"), files_of(finished / "out")
    report = files_of(finished / "work/report")

    assert steps_done(caplog, settings(report={"page": True}), spark) == ([], list(STEPS))
    assert files_of(finished / "work/embeddings") == tables
    assert files_of(finished / "out") == output
    assert files_of(finished / "work/report")["index.html"] == report["index.html"]


def test_a_run_with_nothing_to_do_needs_no_spark(finished, monkeypatch):
    monkeypatch.setattr("spark_imgdedup.runs.tables.get_session", None)

    assert run(settings(report={"page": True})).kept == 7


@pytest.mark.connect
def test_a_new_eps_runs_identify_and_remove_again(spark, finished, caplog):
    again = steps_done(caplog, settings(identify={"eps": 0}), spark)

    assert again == (["identify", "remove"], ["embed", "detect", "cluster", "pairwise"])
    counts = record_of(finished, "identify")["counts"]
    assert (counts["eps"], counts["duplicates"], counts["found_by"]) == (0.0, 1, {"exact": 1})
    assert record_of(finished, "remove")["counts"]["written"] == 8


def test_sizes_that_change_no_result_run_nothing_again(spark, finished, caplog):
    config = settings(
        embed={"batch_size": 2, "decode_threads": 1, "device": "cpu"},
        pairwise={"batch_size": 3},
        input={"storage_options": {"auto_mkdir": True}},
    )

    assert steps_done(caplog, config, spark) == ([], list(STEPS))


@pytest.mark.parametrize("change", ["added", "changed"])
def test_another_input_runs_every_step_again(spark, finished, caplog, change):
    make_tar(finished / ("data/new.tar" if change == "added" else "data/a.tar"), [("9.jpg", jpeg(9))])

    assert steps_done(caplog, settings(), spark) == (list(STEPS), [])
    assert record_of(finished, "remove")["counts"]["read"] == (11 if change == "added" else 8)


def test_force_runs_every_step_again_to_the_same_bytes(spark, finished, caplog):
    before = {name: data for name, (data, _) in files_of(finished / "out").items()}

    assert steps_done(caplog, settings(), spark, force=True) == (list(STEPS), [])
    assert {name: data for name, (data, _) in files_of(finished / "out").items()} == before


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_was_interrupted_is_done_again(spark, finished, caplog, step):
    table = {
        "embed": "embeddings",
        "detect": "copies",
        "cluster": "clusters",
        "pairwise": "similarities",
        "identify": "duplicates",
    }
    (finished / f"work/_steps/{step}.json").unlink()
    half = finished / "work" / table.get(step, "removed")
    next(half.glob("*.parquet")).unlink()

    assert steps_done(caplog, settings(), spark)[0] == [step]
    assert run(settings(), spark).kept == 7


@pytest.mark.parametrize("lost", ["work/similarities", "work/centroids", "out", "out/a.tar"])
def test_what_was_deleted_is_made_again(spark, finished, caplog, lost):
    before = {name for name in files_of(finished / "out") if name.endswith(".tar")}
    path = finished / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    done, _ = steps_done(caplog, settings(), spark)

    assert done == [{"work/similarities": "pairwise", "work/centroids": "cluster"}.get(lost, "remove")]
    assert {name for name in files_of(finished / "out") if name.endswith(".tar")} == before


def test_a_step_alone_is_refused_where_other_settings_made_what_it_builds_on(spark, finished):
    config = settings(pairwise={"which_to_keep": "easy"}, identify={"eps": 0})
    before = files_of(finished / "work")

    with pytest.raises(SchemaError, match=r"^identify: the tables of detect, .*: spark-imgdedup detect "):
        run(config, spark, steps=["identify", "remove"])  # from the similarities of which_to_keep hard

    before.pop("config.yaml")
    assert {name: file for name, file in files_of(finished / "work").items() if name in before} == before


@pytest.mark.parametrize("step", ["pairwise", "identify", "remove"])
def test_a_step_alone_is_refused_where_a_step_far_before_it_was_taken_again(spark, finished, step):
    make_tar(finished / "data/new.tar", [("9.jpg", jpeg(1))])
    output = files_of(finished / "out")

    with pytest.raises(SchemaError, match=rf"^{step}: the tables of embed, .*spark-imgdedup embed "):
        run(settings(), spark, steps=[step])
    run(settings(), spark, steps=["embed"])
    with pytest.raises(SchemaError, match=rf"^{step}: the tables of cluster, .*spark-imgdedup cluster "):
        run(settings(), spark, steps=[step])

    assert files_of(finished / "out") == output


def test_steps_that_are_renewed_one_by_one_give_what_a_run_gives(spark, finished, caplog):
    make_tar(finished / "data/new.tar", [("9.jpg", jpeg(1))])

    for step in STEPS:
        along = ["detect"] if step == "cluster" else []
        assert steps_done(caplog, settings(), spark, steps=[step]) == ([step], along)

    assert record_of(finished, "remove")["counts"]["removed"] == {"duplicate": 3}
    assert steps_done(caplog, settings(), spark) == ([], list(STEPS))


def test_a_record_of_an_older_version_is_made_again(spark, finished, caplog):
    path = finished / "work/_steps/pairwise.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"counts": {"lines": 7}}))

    assert steps_done(caplog, settings(), spark)[0] == ["pairwise"]


def test_the_steps_after_embed_do_not_need_the_shards(spark, finished, caplog):
    shutil.rmtree(finished / "data")

    assert steps_done(caplog, settings(identify={"eps": 0}), spark, steps=["identify"]) == (["identify"], [])


def test_a_mistake_leaves_the_earlier_tables_valid(spark, finished, caplog):
    (finished / "wrong").mkdir()
    pq.write_table(pa.table({"image_id": ["nobody"]}), finished / "wrong/ids.parquet")
    output = files_of(finished / "out")

    with pytest.raises(SchemaError):
        run(settings(remove={"ids_path": "wrong"}), spark, steps=["remove"])

    assert files_of(finished / "out") == output
    assert steps_done(caplog, settings(), spark) == ([], list(STEPS))


def test_eps_null_tells_nothing_of_an_earlier_eps(spark, finished):
    summary = run(settings(identify={"eps": None}), spark)

    assert summary.clusters == 1
    assert (summary.duplicates, summary.kept, summary.output) == (None, None, None)


# --- after a power loss


def cut_to(path, size):
    with path.open("r+b") as file:
        file.truncate(size)


def files_that_decide(folder):
    """The files of a work_dir, but for those that Hadoop leaves beside its own."""
    return sorted(path for path in (folder / "work").rglob("*") if path.is_file() and path.suffix != ".crc")


def stale_in(folder):
    """The step that a run would take first, without Spark."""
    return stale_step("remove", Tables(None, resolve_eps(settings())), resolve_eps(settings()))


def test_every_file_of_a_work_dir_that_is_cut_off_is_made_again_or_decides_nothing(finished):
    decides_nothing = {"config.yaml", "_spark_imgdedup.json", "report", "index", "kept"}
    files = [path for path in files_that_decide(finished) if path.name != "_SUCCESS"]
    seen = set()
    for path in files:
        name = path.relative_to(finished / "work").parts[0]
        step = path.stem if name == "_steps" else WRITTEN_BY.get(name)
        expected = None if name in decides_nothing or step == "groups" else step  # identify asks for its groups itself
        data = path.read_bytes()
        for size in (0, len(data) // 2):
            cut_to(path, size)
            assert stale_in(finished) == expected, (path, size)
            require_ours(settings(), STEPS)
        path.write_bytes(data)
        seen.add(name)
    assert {"_steps", "embeddings", "centroids", "blocks", "clusters", "similarities", "duplicates", "removed"} <= seen
    assert stale_in(finished) is None


def test_a_run_after_a_power_loss_gives_what_an_undisturbed_one_does(spark, finished, first_run):
    folder, _ = first_run
    for number, path in enumerate(files_that_decide(finished)):
        if path.parent.name != "_steps":  # they were on the disk
            cut_to(path, path.stat().st_size // 2 * (number % 2))
    for table in ("embeddings", "clusters", "duplicates"):
        with pytest.raises(SchemaError, match=rf"work/{table}/.* is empty or cut off"):
            Tables(spark, settings()).read(table)
    run(settings(report={"page": True}), spark)  # which was cut off too
    for name in ("duplicates", "removed"):
        rows = [spark.read.parquet(str(where / "work" / name)).collect() for where in (finished, folder)]
        assert sorted(map(str, rows[0])) == sorted(map(str, rows[1]))
    for tar in ("a.tar", "sub/b.tar", "cut.tar"):
        assert (finished / "out" / tar).read_bytes() == (folder / "out" / tar).read_bytes()
