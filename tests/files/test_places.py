"""Folders of one run that meet, names that lead out of a folder, and whose a work_dir is. No Spark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files.owning import work_dir
from spark_imgdedup.files.owning.manifest import MANIFEST
from spark_imgdedup.files.owning.names import is_inner, require_inner
from spark_imgdedup.files.owning.places import require_apart
from spark_imgdedup.files.owning.publishing import output_path, publish_files
from spark_imgdedup.files.storage import join
from spark_imgdedup.runs.tables import Tables

IMAGE_STEPS = ("embed", "cluster", "pairwise", "identify", "remove", "report")


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_for(**sections):
    base = {"input": {"path": "data"}, "output": {"path": "out"}, "work_dir": "work"}
    merged = {name: base.get(name, {}) | value for name, value in sections.items() if isinstance(value, dict)}
    return parse_config(base | sections | merged)


def put(path, text="mine"):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"work_dir": "data"}, ("work_dir data", "input.path data")),
        ({"work_dir": "data/work"}, ("work_dir data/work", "input.path data")),
        ({"input": {"path": "work/embeddings"}}, ("input.path work/embeddings", "work_dir work")),
        ({"input": {"path": ["data/a", "work/kept"], "root": "."}}, ("input.path work/kept", "work_dir work")),
        ({"input": {"path": "data/*/*.tar", "root": "."}, "work_dir": "data/w"}, ("data/w", "data/*/*.tar")),
        ({"work_dir": "out"}, ("output.path out", "work_dir out")),
        ({"work_dir": "out/work"}, ("output.path out", "work_dir out/work")),
        ({"output": {"path": "work/kept"}}, ("output.path work/kept", "work_dir work")),
        ({"output": {"path": "work/anything"}}, ("output.path work/anything", "work_dir work")),
        ({"remove": {"ids_path": "work/removed"}}, ("remove.ids_path work/removed", "work_dir work")),
        ({"remove": {"ids_path": ["lists", "work"]}}, ("remove.ids_path work", "work_dir work")),
        ({"remove": {"ids_path": "out"}}, ("output.path out", "remove.ids_path out")),
        ({"remove": {"never": "work/duplicates"}}, ("remove.never work/duplicates", "work_dir work")),
        ({"cluster": {"embeddings_path": "work/clusters"}}, ("cluster.embeddings_path work/clusters", "work_dir work")),
        ({"cluster": {"embeddings_path": "out/vectors"}}, ("output.path out", "cluster.embeddings_path out/vectors")),
        ({"work_dir": "memory://b/x", "input": {"path": "memory://b"}}, ("work_dir memory://b/x", "memory://b")),
    ],
)
def test_what_a_run_writes_never_meets_what_it_reads_nor_another_output(in_tmp, settings, named):
    with pytest.raises(ConfigError) as refused:
        require_apart(config_for(**settings), IMAGE_STEPS)

    assert all(words in str(refused.value) for words in named)
    assert "\n" not in str(refused.value)


def test_a_link_into_the_tables_is_seen_through(in_tmp):
    (in_tmp / "work/removed").mkdir(parents=True)
    (in_tmp / "list").symlink_to("work/removed")

    with pytest.raises(ConfigError, match=r"remove\.ids_path list lies in work/removed"):
        require_apart(config_for(remove={"ids_path": "list"}), ("remove",))


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, IMAGE_STEPS),
        ({"work_dir": "data-work", "output": {"path": "data-out"}}, IMAGE_STEPS),
        ({"input": {"path": "data/a-*.tar", "root": "data"}, "work_dir": "data/work"}, IMAGE_STEPS[:1]),
        ({"input": {"path": "work/shards"}}, IMAGE_STEPS),
        ({"remove": {"ids_path": "other-work/duplicates"}}, ("remove",)),
        ({"remove": {"ids_path": "work/duplicates"}}, ("remove",)),
        ({"cluster": {"embeddings_path": "work/embeddings"}, "input": {"path": None}}, ("cluster", "pairwise")),
    ],
)
def test_what_another_run_or_another_step_has_left_may_be_read(in_tmp, settings, steps):
    require_apart(config_for(**settings), steps)


def test_places_are_looked_at_before_spark_is_started(in_tmp):
    with pytest.raises(ConfigError, match="lie one within the other"):
        Tables(None, config_for(work_dir="out/work")).require_writable(IMAGE_STEPS)


# --- whose a work_dir is


@pytest.mark.parametrize("name", ["clusters/mine.parquet", "centroids/note.txt", "config.yaml", "report/thesis.pdf"])
def test_what_no_run_has_written_is_never_overwritten_in_a_work_dir(in_tmp, name):
    put(f"work/{name}")

    with pytest.raises(ConfigError, match=f"work_dir work holds {name.split('/')[0]}, which no run"):
        Tables(None, config_for()).require_writable(IMAGE_STEPS)

    assert Path(f"work/{name}").read_text() == "mine"


def test_a_folder_that_a_user_puts_into_a_work_dir_of_ours_stays_his(in_tmp):
    config = config_for()
    work_dir.claim(config, ("embed", "report"))
    put("work/embeddings/part-0.parquet", "ours")
    put("work/clusters/part-0.parquet")

    work_dir.require_ours(config, ("embed",))
    with pytest.raises(ConfigError, match="holds clusters, which no run"):
        work_dir.require_ours(config, ("embed", "cluster"))


def test_steps_of_several_runs_add_to_what_is_ours(in_tmp):
    config = config_for()
    for steps, table in ((("embed",), "embeddings"), (("cluster", "pairwise"), "clusters"), (("embed",), "embeddings")):
        work_dir.require_ours(config, steps)
        work_dir.claim(config, steps)
        put(f"work/{table}/part-0.parquet", "ours")
    work_dir.require_ours(config, IMAGE_STEPS)

    ours = json.loads(Path(f"work/{MANIFEST}").read_text())["tables"]
    tables = ["embeddings", "parts", "centroids", "blocks", "clusters", "similarities", "links", "probes", "marks"]
    assert ours == sorted([*tables, "_steps", "report", "config.yaml"])


@pytest.mark.parametrize("marker", [None, "", "{", "[]"])
def test_a_work_dir_with_records_is_ours_whatever_became_of_its_marker(in_tmp, marker):
    put("work/_steps/embed.json", "{}")
    put("work/embeddings/part-0.parquet")
    if marker is not None:
        put(f"work/{MANIFEST}", marker)

    work_dir.require_ours(config_for(), IMAGE_STEPS)


@pytest.mark.parametrize("cut", [0, 0.5])
def test_a_marker_that_was_cut_is_read_from_its_copy_and_written_again(in_tmp, cut):
    config, marker = config_for(), Path("work") / MANIFEST
    work_dir.claim(config, ("embed",))
    put("work/embeddings/part-0.parquet", "ours")
    put("work/_steps/embed.json", "{}")
    put("work/clusters/part-0.parquet")
    whole = marker.read_bytes()
    marker.write_bytes(whole[: int(len(whole) * cut)])

    with pytest.raises(ConfigError, match="holds clusters, which no run"):
        work_dir.require_ours(config, ("embed", "cluster"))
    work_dir.claim(config, ("embed",))

    assert marker.read_bytes() == whole
    assert not list(Path("work").rglob("*.tmp"))


def test_where_a_marker_and_its_copy_are_cut_what_recorded_steps_have_written_is_ours(in_tmp):
    put("work/_steps/embed.json", "{}")
    put("work/embeddings/part-0.parquet", "ours")
    put("work/clusters/part-0.parquet")
    put(f"work/{MANIFEST}", "{")

    work_dir.require_ours(config_for(), ("embed",))
    with pytest.raises(ConfigError, match="holds clusters, which no run"):
        work_dir.require_ours(config_for(), ("cluster",))


def test_a_work_dir_is_no_file_and_no_dataset(in_tmp):
    put("file")
    put(f"dataset/{MANIFEST}", '{"source": [], "state": "complete", "format": "webdataset", "files": []}')

    with pytest.raises(ConfigError, match="work_dir file is a file"):
        work_dir.require_ours(config_for(work_dir="file"), ("embed",))
    with pytest.raises(ConfigError, match="work_dir dataset holds the dataset"):
        work_dir.require_ours(config_for(work_dir="dataset"), ("embed",))


def test_a_dataset_is_not_written_into_a_work_dir(in_tmp):
    work_dir.claim(config_for(), ("embed",))

    with pytest.raises(ConfigError, match="work is the work_dir of a run"):
        output_path(config_for(work_dir="other", output={"path": "work"}))


# --- names from files


@pytest.mark.parametrize(
    "name", ["a.tar", "a/b.tar", "..a", "a..b/c", "a//b.tar", "ü/x y.tar", "caf\udce9.tar", "a:b", "a::b.jpg"]
)
def test_a_name_below_its_folder_is_taken_as_it_is(name):
    assert require_inner(name, "index") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "/etc/x",
        "a\0b",
        "s3://b/x",
        "x::file:///etc/x",
        "x::memory",
        "a/./b",
        None,
        7,
        [],
    ],
)
def test_a_name_that_leads_out_of_its_folder_is_refused_with_the_file_that_says_it(name):
    assert not is_inner(name)
    with pytest.raises(ConfigError, match=r"folder/index\.json: the name"):
        require_inner(name, "folder/index.json")


# --- manifests


def manifest_of(in_tmp, **more):
    whole = {"source": [str(in_tmp / "data")], "state": "complete", "format": "webdataset", "files": []}
    put(f"out/{MANIFEST}", json.dumps(whole | more))


@pytest.mark.parametrize("name", ["../victim", "../victim/a", "{here}/victim", "a/../../victim", ""])
def test_a_manifest_that_names_files_elsewhere_is_refused_and_they_stay(in_tmp, name):
    put("victim/a")
    manifest_of(in_tmp, files=[name.format(here=in_tmp)])

    with pytest.raises(ConfigError, match=rf"out/{MANIFEST}: the name"):
        output_path(config_for())
    with pytest.raises(ConfigError, match="the name"):
        publish_files(str(in_tmp / "out"), {}, config_for())

    assert Path("victim/a").read_text() == "mine"


def test_a_folder_that_a_manifest_names_as_a_file_stays(in_tmp):
    put("out/album/a.jpg")
    manifest_of(in_tmp, files=["album"])

    publish_files(output_path(config_for()), {}, config_for())

    assert Path("out/album/a.jpg").read_text() == "mine"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "7",
        "nonsense",
        '{"source": [], "state": 1, "format": "x", "files": []}',
        '{"files": []}',
        "[" * 10**5,
    ],
)
def test_a_damaged_manifest_is_one_line_that_says_which_and_what_to_do(in_tmp, text):
    put(f"out/{MANIFEST}", text)

    with pytest.raises(ConfigError, match=rf"out/{MANIFEST}: damaged.*Delete the folder") as refused:
        output_path(config_for())

    assert "\n" not in str(refused.value)


def test_an_empty_manifest_is_nothing_where_nothing_else_is_and_damage_where_there_is(in_tmp):
    put(f"out/{MANIFEST}", "")
    assert output_path(config_for()) == str(in_tmp / "out")

    put("out/a.tar")
    with pytest.raises(ConfigError, match="damaged"):
        output_path(config_for())
    assert Path("out/a.tar").read_text() == "mine"


def test_a_file_of_somebody_else_is_not_written_over_where_a_new_one_has_its_name(in_tmp):
    manifest_of(in_tmp)
    put("out/b.tar")
    put("out/_temporary/1.tar", "ours")

    with pytest.raises(ConfigError, match=r"out holds b\.tar, which this package did not write"):
        publish_files(str(in_tmp / "out"), {"b.tar": join(str(in_tmp / "out"), "_temporary/1.tar")}, config_for())

    assert Path("out/b.tar").read_text() == "mine"


def test_an_output_that_is_a_file_or_below_one_is_refused_before_any_work(in_tmp):
    put("file")

    for path in ("file", "file/out"):
        with pytest.raises(ConfigError, match=f"output.path {path}: .*/file is a file"):
            output_path(config_for(output={"path": path}))
