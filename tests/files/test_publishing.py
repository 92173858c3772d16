from __future__ import annotations

import json
from pathlib import Path

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.owning.publishing import (
    MANIFEST,
    MOST_ASKED,
    TEMPORARY,
    begin,
    is_published,
    output_path,
    publish_files,
    read_manifest,
)


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_for(source, target, **sections):
    source = source if isinstance(source, dict) else {"path": source}
    target = target if isinstance(target, dict) else {"path": target}
    return parse_config({"input": source, "output": target, **sections})


def write_temporary(config, names):
    """What a run does up to the moment of publishing."""
    path = output_path(config)
    begin(path, config)
    temporary = {name: storage.join(path, TEMPORARY, f"{number}.tar") for number, name in enumerate(names)}
    for name, url in temporary.items():
        writing.write_bytes(url, name.encode())
    return path, temporary


def publish(config, names):
    path, temporary = write_temporary(config, names)
    publish_files(path, temporary, config)
    return path


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


# --- where nothing may be written


def test_an_output_must_be_named(in_tmp):
    with pytest.raises(ConfigError, match=r"output\.path is not set"):
        output_path(config_for("data", None))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("data", "data"),
        ("data", "data/out"),
        ("data/in", "data"),
        ("{here}/data", "data/out"),
        ("data", "file://{here}/data/out"),
        ("data/", "./data/../data/out"),
        ("memory://bucket/data", "memory://bucket/data/out"),
        ("memory:///bucket/data", "memory://bucket"),
        ({"path": "data/*/*.tar", "root": "data"}, "data/out"),
        ({"path": ["data/a", "data/b"], "root": "data"}, "data/c"),
        ({"path": "data/a-[0-9].tar", "root": "."}, "data"),
        ({"path": "data/a?/*.tar", "root": "."}, "data"),
    ],
)
def test_an_output_and_an_input_one_within_the_other_are_refused(in_tmp, source, target):
    source = source if isinstance(source, dict) else source.format(here=in_tmp)

    with pytest.raises(ConfigError, match="one within the other"):
        output_path(config_for(source, target.format(here=in_tmp)))


def test_an_output_that_a_link_leads_into_the_input_is_refused(in_tmp):
    (in_tmp / "elsewhere").symlink_to("data")
    (in_tmp / "other").mkdir()
    (in_tmp / "other" / "inner").symlink_to("../data")

    for source, target in [
        ("data", "elsewhere"),
        ("data", "elsewhere/out"),
        ("elsewhere", "data/out"),
        ("other/inner", "."),
    ]:
        with pytest.raises(ConfigError, match="one within the other"):
            output_path(config_for(source, target))


def test_an_output_beside_the_input_is_accepted_also_where_one_name_begins_like_the_other(in_tmp):
    assert output_path(config_for("data", "data-out")) == str(in_tmp / "data-out")


def test_a_table_cannot_become_tars(in_tmp):
    with pytest.raises(ConfigError, match="a table has no tars"):
        output_path(config_for({"path": "data", "format": "table"}, "out"))


def test_tables_of_the_run_among_loose_images_are_refused(in_tmp):
    with pytest.raises(ConfigError, match="work_dir"):
        output_path(config_for({"path": "data", "format": "images"}, "out", work_dir="data/work"))


@pytest.mark.parametrize("target", ["{here}/out", "memory://publishing-foreign"])
def test_a_folder_with_files_of_others_is_refused_and_left_alone(in_tmp, target):
    target = target.format(here=in_tmp)
    writing.write_bytes(f"{target}/sub/thesis.txt", b"mine")

    with pytest.raises(ConfigError, match=r"thesis\.txt"):
        output_path(config_for("data", target))

    assert storage.read_text(f"{target}/sub/thesis.txt") == "mine"


def test_a_folder_with_the_dataset_of_another_input_is_refused(in_tmp):
    publish(config_for("data", "out"), ["a.tar"])

    with pytest.raises(ConfigError, match=f"made from {in_tmp}/data"):
        output_path(config_for("other", "out"))


def test_a_delta_table_and_files_of_another_format_do_not_share_a_folder(in_tmp):
    publish(config_for("data", "out"), ["a.tar"])

    with pytest.raises(ConfigError, match="in the format webdataset, not delta"):
        output_path(config_for("data", {"path": "out", "format": "delta"}))


# --- publishing


@pytest.mark.parametrize("target", ["{here}/out", "memory://publishing-once"])
def test_files_get_their_names_and_nothing_temporary_is_left(in_tmp, target):
    config = config_for("data", target.format(here=in_tmp))

    path = publish(config, ["a/000.tar", "b/000.tar"])

    assert storage.read_text(f"{path}/a/000.tar") == "a/000.tar"
    assert not storage.exists(f"{path}/{TEMPORARY}")
    assert [file.url.rpartition("/")[2] for file in storage.list_files(path, "")] == [MANIFEST, "000.tar", "000.tar"]
    assert read_manifest(path, {}) == {
        "source": [str(in_tmp / "data")],
        "state": "complete",
        "format": "webdataset",
        "files": ["a/000.tar", "b/000.tar"],
    }


def test_publishing_again_takes_away_our_own_stale_files_and_no_others(in_tmp):
    config = config_for("data", "out")
    publish(config, ["a.tar", "b.tar", "sub/c.tar"])
    (in_tmp / "out" / "notes.txt").write_text("mine")

    publish(config, ["b.tar", "d.tar"])

    assert files_below("out") == [MANIFEST, "b.tar", "d.tar", "notes.txt"]
    assert Path("out/b.tar").read_text() == "b.tar"
    assert is_published(config)


def test_a_run_that_stopped_before_publishing_leaves_the_earlier_dataset_and_may_be_run_again(in_tmp):
    config = config_for("data", "out")
    publish(config, ["a.tar"])
    write_temporary(config, ["b.tar"])

    assert not is_published(config)
    assert [name for name in files_below("out") if TEMPORARY not in name] == [MANIFEST, "a.tar"]

    publish(config, ["b.tar"])
    assert files_below("out") == [MANIFEST, "b.tar"]


def test_a_run_that_stopped_while_publishing_is_known_to_be_ours(in_tmp):
    config = config_for("data", "out")
    path, temporary = write_temporary(config, ["a.tar", "b.tar"])
    temporary["b.tar"] = f"{path}/{TEMPORARY}/lost.tar"

    with pytest.raises(FileNotFoundError):
        publish_files(path, temporary, config)

    assert files_below("out")[0] == MANIFEST
    assert Path("out/a.tar").exists()
    assert not is_published(config)
    publish(config, ["c.tar"])
    assert files_below("out") == [MANIFEST, "c.tar"]


def test_what_attempts_that_crashed_have_left_goes_when_the_next_one_begins(in_tmp):
    config = config_for("data", "out")
    publish(config, ["a.tar"])
    for name in (f"{TEMPORARY}/half.tar", f"{TEMPORARY}/deeper/0", f".{MANIFEST}.0123.tmp"):
        writing.write_bytes(f"{in_tmp}/out/{name}", b"left over")

    begin(output_path(config), config)

    assert files_below("out") == [MANIFEST, f"{TEMPORARY}/{MANIFEST}", "a.tar"]


@pytest.mark.parametrize("cut", [0, 0.5])
@pytest.mark.parametrize("moment", ["copying", "publishing"])
def test_a_manifest_that_a_power_loss_has_cut_is_read_from_its_copy(in_tmp, cut, moment, caplog):
    config = config_for("data", "out")
    publish(config, ["a.tar", "b.tar"])
    path, temporary = write_temporary(config, ["b.tar", "c.tar"])
    if moment == "publishing":
        temporary["c.tar"] = f"{path}/{TEMPORARY}/lost.tar"
        with pytest.raises(FileNotFoundError):
            publish_files(path, temporary, config)
    manifest = Path("out") / MANIFEST
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[: int(len(whole) * cut)])

    assert not is_published(config)
    publish(config, ["d.tar"])

    assert "was damaged; its copy" in caplog.text
    assert files_below("out") == [MANIFEST, "d.tar"]
    assert is_published(config)


def test_a_manifest_that_is_cut_and_has_no_copy_is_named_with_the_way_out_and_nothing_is_touched(in_tmp):
    config = config_for("data", "out")
    publish(config, ["a.tar"])
    manifest = Path("out") / MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:40])

    with pytest.raises(ConfigError, match=r"out/_spark_imgdedup\.json: damaged.*Delete the folder"):
        output_path(config)

    assert files_below("out") == [MANIFEST, "a.tar"]


def test_a_file_of_somebody_else_is_not_ours_where_the_manifest_is_read_from_its_copy(in_tmp):
    config = config_for("data", "out")
    path, temporary = write_temporary(config, ["a.tar"])
    (in_tmp / "out" / MANIFEST).write_bytes(b"")
    (in_tmp / "out" / "a.tar").write_text("mine")

    with pytest.raises(ConfigError, match=r"a\.tar, which this package did not write"):
        publish_files(path, temporary, config)

    assert Path("out/a.tar").read_text() == "mine"


def test_many_files_are_looked_for_in_one_listing(in_tmp):
    config = config_for("data", "out")
    names = [f"{number:04}/x.tar" for number in range(MOST_ASKED + 1)]
    publish(config, names)
    assert is_published(config)

    Path(f"out/{names[700]}").unlink()

    assert not is_published(config)


def test_an_output_with_a_file_gone_missing_is_not_complete(in_tmp):
    config = config_for("data", "out")
    publish(config, ["a.tar"])
    assert is_published(config)

    Path("out/a.tar").unlink()

    assert not is_published(config)


def test_secrets_are_not_written_into_the_manifest(in_tmp):
    config = config_for(
        "data", {"path": "memory://publishing-secret", "storage_options": {"skip_instance_cache": True}}
    )

    path = publish(config, ["a.tar"])

    assert "skip_instance_cache" not in json.dumps(read_manifest(path, {}))
