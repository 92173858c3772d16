"""The whole flow on tiny tars: what a run counts, writes, skips, does again and refuses.

One finished run is made once and copied for each test that changes something: settings name it by relative paths.
"""

from __future__ import annotations

import json
import logging
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, SchemaError, ShardError
from spark_imgdedup.files.owning.work_dir import require_ours
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs.current import stale_step
from spark_imgdedup.runs.plan import plan_steps, resolve_eps
from spark_imgdedup.runs.tables import WRITTEN_BY, Tables
from tests.report.page.pages import text_of
from tests.tars import encoded, jpeg, make_tar, members_of, png, tar_bytes

STEPS = ("embed", "detect", "cluster", "pairwise", "identify", "remove")
# Samples that can be read: 7, of them an exact copy and one in another format; without an image: 2; cut: 1.
CAPTION = b"a caption"


def write_shards(folder):
    make_tar(folder / "a.tar", [("0.jpg", jpeg(1)), ("0.txt", CAPTION), ("1.jpg", jpeg(2)), ("2.jpg", jpeg(3))])
    make_tar(
        folder / "sub/b.tar",
        [
            ("0.jpg", jpeg(1)),  # an exact copy of a/0
            ("1.png", encoded("PNG", 2)),  # a/1 in another format
            ("2.jpg", b"not a picture"),
            ("3.txt", CAPTION),  # no image
        ],
    )
    # Two samples, and a third that the shard ends in.
    whole = tar_bytes([("0.png", png(4)), ("1.png", png(5)), ("2.png", png(6, (64, 64)))])
    (folder / "cut.tar").write_bytes(whole[: -2 * 1024])


def settings(**sections):
    merged = {
        "input": {"path": "data"},
        "output": {"path": "out"},
        "work_dir": "work",
        "embed": {"model": "tests.encoders:ColourEncoder", "batch_size": 4},
        "cluster": {"n_clusters": 1},
        "identify": {"eps": 0.01},
    }
    for name, section in sections.items():
        merged[name] = merged[name] | section if isinstance(section, dict) and name in merged else section
    return parse_config(merged)


@pytest.fixture(scope="session")
def first_run(_session, tmp_path_factory):
    """The folder and the summary of a finished run."""
    folder = tmp_path_factory.mktemp("flow")
    write_shards(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        summary = run(settings(), _session)
    return folder, summary


@pytest.fixture
def finished(first_run, tmp_path, monkeypatch):
    """A copy of the finished run, with its times, to work in."""
    folder, _ = first_run
    for part in ("data", "work", "out"):
        shutil.copytree(folder / part, tmp_path / part, copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path)
    # The output's manifest names its source by its full path.
    manifest = tmp_path / "out/_spark_imgdedup.json"
    manifest.write_text(manifest.read_text().replace(str(folder), str(tmp_path)))
    return tmp_path


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A folder with shards in which nothing has run."""
    write_shards(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def steps_done(caplog, *arguments, **options):
    """The steps that a run took and those that it skipped, by its own log."""
    caplog.clear()
    caplog.set_level(logging.INFO)
    run(*arguments, **options)
    said = [(line.split(":")[0], line) for line in caplog.messages if line.split(":")[0] in STEPS]
    skipped = [step for step, line in said if ": unchanged since the last run, skipped" in line]
    records = [step for step, _ in said]
    return [step for step in STEPS if step in records and step not in skipped], skipped


def files_of(folder):
    """Contents and times of all files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def record_of(folder, step):
    return json.loads((folder / f"work/_steps/{step}.json").read_text())


@pytest.mark.connect
def test_the_counts_of_a_run_add_up(first_run):
    _, summary = first_run

    assert summary.read == 10
    assert summary.unreadable == {"no_image": 1, "unreadable": 2}  # the third is the sample that the shard ends in
    assert summary.duplicates == 2
    assert summary.removed == {"duplicate": 2}
    assert (summary.kept, summary.cut) == (7, 1)
    assert summary.kept + summary.cut + sum(summary.removed.values()) == summary.read
    assert len(summary.damaged_shards) == 1
    assert "cut.tar" in summary.damaged_shards[0]


@pytest.mark.connect
def test_report_json_says_what_the_summary_says(first_run):
    folder, summary = first_run
    report = json.loads((folder / "work/report/report.json").read_text())

    assert [name for name in report["steps"] if name != "groups"] == list(STEPS)
    for name in ("read", "kept", "cut", "duplicates", "removed", "unreadable", "eps", "clusters", "output"):
        assert report["summary"][name] == getattr(summary, name), name
    assert report["steps"]["remove"]["counts"]["bytes_before"] == sum(
        path.stat().st_size for path in (folder / "data").rglob("*.tar")
    )


@pytest.mark.connect
def test_the_page_says_what_report_json_says_and_shows_the_pictures(first_run):
    folder, summary = first_run
    page = (folder / "work/report/index.html").read_text(encoding="utf-8")
    levels = json.loads(page.partition('id="levels">')[2].partition("</script>")[0])["levels"]
    (own,) = (level for level in levels if level["eps"] == summary.eps)

    said = text_of(folder / "work")
    assert "10 read = 7 kept + 2 removed: duplicate + 1 cut off in damaged shards adds up" in said
    copies = summary.breakdowns["found_by"]["exact"]
    assert own["removed"] + copies == summary.duplicates == 2
    assert (own["groups"], own["largest"]) == (1, 2)
    assert "1 of 1 pairs, found by same bytes or same pixels" in said
    assert "Exact copy, found by same bytes or same pixels; rule greedy: goes for the image beside it." in said
    assert "read unreadable 2" in said
    assert page.count("data:image/webp") >= 2 * (copies + 1)
    assert "no picture" not in said


def test_before_identify_the_page_has_pairs_on_both_sides_of_eps(spark, finished):
    for step in ("identify", "groups", "remove"):
        (finished / f"work/_steps/{step}.json").unlink()

    run(settings(), spark, steps=["report"])

    page = (finished / "work/report/index.html").read_text(encoding="utf-8")
    assert ">within eps<" in page
    assert ">outside eps<" in page
    assert "Not decided yet: identify has not run." in page
    assert 'id="groups"' not in page


def test_a_page_without_pictures_or_none_at_all_can_be_asked_for(spark, finished):
    page = finished / "work/report/index.html"

    run(settings(report={"images": False}), spark, steps=["report"])

    assert "report.images is false" in page.read_text(encoding="utf-8")
    assert "data:image" not in page.read_text(encoding="utf-8").partition("<body>")[2]
    page.unlink()
    run(settings(report={"page": False}), spark, steps=["report"])
    assert not page.exists()


@pytest.mark.connect
def test_one_of_each_pair_is_left_with_its_sidecars_and_all_that_could_not_be_read(first_run):
    folder, _ = first_run
    kept = {
        f"{path.relative_to(folder / 'out').as_posix()}:{name}": data
        for path in (folder / "out").rglob("*.tar")
        for name, data in members_of(path)
    }

    assert ("a.tar:0.jpg" in kept) + ("sub/b.tar:0.jpg" in kept) == 1
    assert ("a.tar:1.jpg" in kept) + ("sub/b.tar:1.png" in kept) == 1
    assert ("a.tar:0.txt" in kept) == ("a.tar:0.jpg" in kept)
    assert kept["sub/b.tar:2.jpg"] == b"not a picture"
    assert kept["sub/b.tar:3.txt"] == CAPTION
    assert [name for name in kept if name.startswith("cut.tar")] == ["cut.tar:0.png", "cut.tar:1.png"]


def test_the_settings_of_a_run_lie_beside_its_tables(first_run):
    folder, _ = first_run

    assert "eps: 0.01" in (folder / "work/config.yaml").read_text()


@pytest.mark.connect
def test_a_second_run_skips_every_step_and_touches_nothing(spark, finished, caplog):
    tables, output = files_of(finished / "work/embeddings"), files_of(finished / "out")
    report = files_of(finished / "work/report")

    assert steps_done(caplog, settings(), spark) == ([], list(STEPS))
    assert files_of(finished / "work/embeddings") == tables
    assert files_of(finished / "out") == output
    assert files_of(finished / "work/report")["index.html"] == report["index.html"]


def test_a_run_with_nothing_to_do_needs_no_spark(finished, monkeypatch):
    monkeypatch.setattr("spark_imgdedup.runs.tables.get_session", None)

    assert run(settings()).kept == 7


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


def test_eps_null_stops_after_similarities(spark, fresh, caplog):
    done, _ = steps_done(caplog, settings(identify={"eps": None}), spark)

    assert done == ["embed", "detect", "cluster", "pairwise"]
    assert [line for line in caplog.messages if "`spark-imgdedup eps` prints what each eps would remove" in line]
    assert not (fresh / "work/duplicates").exists()
    assert not (fresh / "out").exists()


def test_eps_null_tells_nothing_of_an_earlier_eps(spark, finished):
    summary = run(settings(identify={"eps": None}), spark)

    assert summary.clusters == 1
    assert (summary.duplicates, summary.kept, summary.output) == (None, None, None)


@pytest.mark.connect
def test_own_embeddings_with_integer_ids_go_as_far_as_the_duplicates(spark, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    vectors = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    table = {"video": pa.array([7, 8, 9]), "vector": pa.array(vectors, pa.list_(pa.float64()))}
    pq.write_table(pa.table(table), "mine.parquet")
    config = parse_config(
        {
            "cluster": {"embeddings_path": "mine.parquet", "id_field": "video", "embedding_field": "vector"},
            "work_dir": "work",
        }
    )

    done, _ = steps_done(caplog, config, spark)

    assert done == ["cluster", "pairwise", "identify"]
    assert [line for line in caplog.messages if line.startswith("remove is left out: input.path is not set")]
    duplicates = Tables(spark, config).read("duplicates")
    assert dict(duplicates.dtypes)["video"] == "bigint"
    assert [(row.video, row.max_id) for row in duplicates.collect()] in ([(7, 9)], [(9, 7)])


def test_own_embeddings_with_one_id_twice_stop_the_run(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"id": [1, 1], "embedding": [[1.0, 0.0], [0.0, 1.0]]}), "mine.parquet")

    with pytest.raises(ShardError, match=r"'1' from 1, 1.*cluster\.id_field"):
        run(parse_config({"cluster": {"embeddings_path": "mine.parquet"}, "work_dir": "work"}), spark)


@pytest.mark.connect
def test_a_list_of_ids_is_removed_from_tars_that_were_never_embedded(spark, fresh, caplog):
    pq.write_table(pa.table({"uid": ["a/0", "sub/b/3", "not/there"]}), "ids.parquet")

    done, _ = steps_done(
        caplog, settings(remove={"ids_path": "ids.parquet", "id_field": "uid"}), spark, steps=["remove"]
    )

    assert done == ["remove"]
    assert not (fresh / "work/embeddings").exists()
    assert [name for name, _ in members_of(fresh / "out/a.tar")] == ["1.jpg", "2.jpg"]
    assert [name for name, _ in members_of(fresh / "out/sub/b.tar")] == ["0.jpg", "1.png", "2.jpg"]
    counts = record_of(fresh, "remove")["counts"]
    assert (counts["ids_given"], counts["ids_matched"], counts["removed"]) == (3, 2, {"listed": 2})


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("image_id", ["x/0", "x/1"], r"none of the 2 ids is in the dataset: they look like 'x/"),
        ("uid", ["a/0"], r"no column 'image_id', it has uid"),
    ],
)
def test_a_wrong_list_of_ids_is_refused_and_nothing_is_written(spark, fresh, column, values, said):
    pq.write_table(pa.table({column: values}), "ids.parquet")

    with pytest.raises(SchemaError, match=said):
        run(settings(remove={"ids_path": "ids.parquet"}), spark, steps=["remove"])

    assert not (fresh / "out").exists()
    assert not (fresh / "work/removed").exists()


def test_two_samples_with_one_id_stop_the_run_with_both_named(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uid = ("0.json", b'{"uid": "same"}')
    make_tar(tmp_path / "data/a.tar", [("0.jpg", jpeg(1)), uid])
    make_tar(tmp_path / "data/b.tar", [("0.jpg", jpeg(2)), uid])

    with pytest.raises(ShardError, match=r"'same' from a : 0, b : 0\."):
        run(settings(input={"id_field": "uid"}), spark)

    assert not (tmp_path / "out").exists()


PLANS = {
    "everything": ({}, None, [*STEPS, "report"]),
    "the order of the data": ({}, ["remove", "embed"], ["embed", "remove"]),
    "only what is asked for": ({}, ["report"], ["report"]),
    "no eps": ({"identify": {"eps": None}}, None, ["embed", "detect", "cluster", "pairwise", "report"]),
    "no eps but a list of ids": (
        {"identify": {"eps": None}, "remove": {"ids_path": "ids"}},
        None,
        ["embed", "detect", "cluster", "pairwise", "remove", "report"],
    ),
    "own embeddings": ({"cluster": {"embeddings_path": "mine"}}, None, [*STEPS[2:], "report"]),
    "own embeddings and an embed of its own": ({"cluster": {"embeddings_path": "mine"}}, ["embed"], ["embed"]),
    "a model without a preset": (
        {"identify": {"eps": "auto"}},
        None,
        ["embed", "detect", "cluster", "pairwise", "report"],
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_the_plan_is_what_the_settings_leave_to_do(name):
    sections, asked, planned = PLANS[name]

    assert plan_steps(settings(**sections), asked) == planned


@pytest.mark.parametrize(
    ("sections", "asked", "said"),
    [
        ({}, ["paint"], "there is no step paint. The steps are embed, "),
        ({"identify": {"eps": None}}, ["identify"], "identify: identify.eps is null"),
        ({"identify": {"eps": None}}, ["remove"], "remove: identify.eps is null"),
        ({"input": {"path": None}}, ["embed"], "input.path is not set"),
        ({"input": {"path": None}}, None, "input.path is not set"),
        (
            {"input": {"path": None}, "cluster": {"embeddings_path": "mine"}},
            ["remove"],
            "remove: input.path is not set, so there is no dataset to copy",
        ),
    ],
)
def test_a_step_that_lacks_its_input_is_refused(sections, asked, said):
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        plan_steps(settings(**sections), asked)


def test_an_automatic_eps_is_that_of_the_encoder():
    assert resolve_eps(settings(identify={"eps": "auto"}, embed={"model": "efficientnet-lite0"})).identify.eps == 0.22
    assert resolve_eps(settings(identify={"eps": "auto"}, cluster={"embeddings_path": "mine"})).identify.eps == 0.01
    assert resolve_eps(settings(identify={"eps": "auto"})).identify.eps is None
    assert resolve_eps(settings()).identify.eps == 0.01


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
    run(settings(), spark)
    for name in ("duplicates", "removed"):
        rows = [spark.read.parquet(str(where / "work" / name)).collect() for where in (finished, folder)]
        assert sorted(map(str, rows[0])) == sorted(map(str, rows[1]))
    for tar in ("a.tar", "sub/b.tar", "cut.tar"):
        assert (finished / "out" / tar).read_bytes() == (folder / "out" / tar).read_bytes()
