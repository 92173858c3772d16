"""The whole flow on tiny tars: what a run counts, writes and refuses, and which steps it takes."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, SchemaError, ShardError
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs.plan import plan_steps, resolve_eps
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.runs.vectors import population_of, searched_vectors
from spark_imgdedup.stages.centroids import measure
from spark_imgdedup.stages.vectors.vector_files import FileSource
from tests.flow.tiny import CAPTION, STEPS, record_of, settings, steps_done
from tests.report.page.pages import text_of
from tests.tars import jpeg, make_tar, members_of


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


@pytest.mark.parametrize("prepass", [["exact"], []], ids=["copies collapsed", "every image"])
def test_what_there_is_to_cluster_is_told_by_records_as_a_pass_over_the_vectors_finds_it(spark, finished, prepass):
    config = settings(detect={"prepass": prepass})
    tables = Tables(spark, config)
    source = searched_vectors(tables, config)

    told = population_of(tables, source, config)

    assert isinstance(source, FileSource)  # tasks read the vectors themselves
    assert told == measure(source)
    assert told.n_rows == (6 if prepass else 7)


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

    run(settings(report={"page": True}), spark, steps=["report"])

    page = (finished / "work/report/index.html").read_text(encoding="utf-8")
    assert ">within eps<" in page
    assert ">outside eps<" in page
    assert "Not decided yet: identify has not run." in page
    assert 'id="groups"' not in page


def test_a_page_without_pictures_or_none_at_all_can_be_asked_for(spark, finished):
    page = finished / "work/report/index.html"

    run(settings(report={"page": True, "images": False}), spark, steps=["report"])

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


def test_eps_null_stops_after_similarities(spark, fresh, caplog):
    done, _ = steps_done(caplog, settings(identify={"eps": None}), spark)

    assert done == ["embed", "detect", "cluster", "pairwise"]
    assert [line for line in caplog.messages if "`spark-imgdedup eps` prints what each eps would remove" in line]
    assert not (fresh / "work/duplicates").exists()
    assert not (fresh / "out").exists()


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
            "report": {"page": False},
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

    assert plan_steps(settings(report={"page": True}, **sections), asked) == planned


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
