"""Copying that was killed and is begun again, without Spark: at each operation on the storage; what is used again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, ShardError
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.copying.copy_plan import plan_copies
from spark_imgdedup.files.copying.finished import tar_marks
from spark_imgdedup.files.copying.kept_members import Source
from spark_imgdedup.files.copying.resume import FileGroup, resume_files, resume_kept, resume_pack
from spark_imgdedup.files.owning.manifest import MANIFEST, TEMPORARY
from spark_imgdedup.files.owning.publishing import (
    begin,
    clear_temporary,
    finished_files,
    is_published,
    output_path,
    publish_files,
)
from spark_imgdedup.files.tars.shards import list_shards
from tests.tars import make_tar

REMOVED = {"a": {"1": None}, "sub/b": {"0": None}}
CHANGING = {
    writing: ("open_write", "finish", "move", "write_bytes", "sync_folder", "sync_all", "clear_unfinished"),
    storage: ("delete", "delete_below", "delete_file", "delete_files"),
}


class Killed(BaseException):
    """The process is no more."""


class Disk:
    """Counts what is done on the storage, and from the k-th time on lets nothing more be done: the process is dead."""

    def __init__(self, monkeypatch, dies_at=None):
        self.dies_at, self.n_done, self.opened = dies_at, 0, []
        for module, names in CHANGING.items():
            for name in names:
                monkeypatch.setattr(module, name, self.counted(getattr(module, name)))

    def counted(self, call):
        def counted(*arguments):
            if self.dies_at is not None and self.n_done >= self.dies_at:
                raise Killed
            self.n_done += 1
            if call.__name__ == "open_write":
                self.opened.append(arguments[0])
            return call(*arguments)

        return counted

    @property
    def n_tars(self):
        return sum(url.endswith(".tar") for url in self.opened)

    @property
    def n_files(self):
        return sum(os.path.basename(url).isdigit() for url in self.opened)


@pytest.fixture(autouse=True)
def no_syncing(monkeypatch):
    """No power is lost here, and waiting for the disk would be most of the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture
def dataset(tmp_path):
    """Four shards of four samples each, and sixteen loose images."""
    for number, name in enumerate(("a", "c", "sub/b", "sub/d")):
        members = [(f"{n}.jpg", f"{name} {n}".encode() * 50) for n in range(4)]
        make_tar(tmp_path / "tars" / f"{name}.tar", members)
        for n, (_, data) in enumerate(members):
            (tmp_path / "files").mkdir(exist_ok=True)
            (tmp_path / "files" / f"{number}{n}.jpg").write_bytes(data)
    return tmp_path


def config_of(folder, kind):
    source = {"path": str(folder / ("tars" if kind in ("tars", "repacked") else "files"))}
    if kind in ("packed", "files"):
        source["format"] = "images"
    return parse_config({"input": source, "output": {"path": str(folder / "out")}})


def copy_tars(config, repack, removed):
    finished, read = finished_files(str(config.output.path), {}), Source()
    shards = list_shards(config.input)
    tasks = plan_copies(shards, {s.name: 4 - len(removed.get(s.name, ())) for s in shards}, repack)
    finished.clear_others({mark for task in tasks for mark in tar_marks(task, removed, read)})
    tars = [tar for task in tasks for tar in resume_kept(task, removed, finished, read=read)]
    return {f"{tar.name}.tar": tar.temporary for tar in tars}, tars


def groups_of(config, kind):
    """Four loose images each."""
    names = sorted(path.name for path in Path(config.input.path).iterdir())
    chunks = [names[start : start + 4] for start in range(0, len(names), 4)]
    for number, some in enumerate(chunks):
        urls = [f"{config.input.path}/{name}" for name in some]
        yield FileGroup(some, urls, some if kind == "packed" else (), f"{number:06d}" if kind == "packed" else "")


def copy_loose(config, kind):
    finished, groups = finished_files(str(config.output.path), {}), list(groups_of(config, kind))
    finished.clear_others({group.mark(group.stamps()) for group in groups})
    if kind == "packed":
        tars = [resume_pack(group, finished) for group in groups]
        return {f"{tar.name}.tar": tar.temporary for tar in tars}, tars
    placed = [(name, *found) for group in groups for name, found in _files(group, finished)]
    return {name: place for name, place, _ in placed}, [(name, n_bytes) for name, _, n_bytes in placed]


def _files(group, finished):
    return zip(group.names, resume_files(group, finished), strict=True)


def run(config, kind, removed=REMOVED):
    """What the step `remove` does, with the same functions, in one process; what was said of what it copied."""
    path = output_path(config)
    begin(path, config, None)
    if kind in ("tars", "repacked"):
        placed, said = copy_tars(config, 3 if kind == "repacked" else None, removed)
    else:
        placed, said = copy_loose(config, kind)
    publish_files(path, placed, config)
    return [(s.name, s.n_samples, s.n_cut, s.n_bytes, s.damage, s.samples) if kind != "files" else s for s in said]


def tree(folder):
    """All files below a folder, hidden ones too, with their bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# A generator that is thrown away after the death cannot take its file away either.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["tars", "repacked", "packed", "files"])
def test_killed_at_any_operation_a_copy_goes_on_and_gives_what_an_undisturbed_one_gives(dataset, monkeypatch, kind):
    config = config_of(dataset, kind)
    if kind == "tars":  # an older output, of which one file is no longer wanted
        make_tar(dataset / "tars/old.tar", [("0.jpg", b"x")])
        run(config, kind, {})
        (dataset / "tars/old.tar").unlink()
        shutil.copytree(dataset / "out", dataset / "before")
    with monkeypatch.context() as patch:
        undisturbed = Disk(patch)
        said = run(config, kind)
    right = tree(dataset / "out")
    n_whole = undisturbed.n_files if kind == "files" else undisturbed.n_tars
    assert n_whole == {"files": 16, "repacked": 5}.get(kind, 4)

    for dies_at in range(undisturbed.n_done):
        shutil.rmtree(dataset / "out")
        if kind == "tars":
            shutil.copytree(dataset / "before", dataset / "out")
        with monkeypatch.context() as patch:
            killed = Disk(patch, dies_at)
            with pytest.raises(Killed):
                run(config, kind)
        waiting, is_clearing = finished_files(str(dataset / "out"), {}).marks(), is_published(config)
        with monkeypatch.context() as patch:
            again = Disk(patch)
            assert run(config, kind) == said, dies_at

        assert tree(dataset / "out") == right, dies_at
        per_record = 4 if kind == "files" else 1
        copied = again.n_files if kind == "files" else again.n_tars
        assert copied == n_whole - per_record * len(waiting) or is_clearing, dies_at
        assert killed.n_done == dies_at
    assert is_published(config)


# --- what is used again, and what is not


def killed_while_publishing(dataset, monkeypatch, kind="tars"):
    """An output of which all is copied and nothing is published; the settings."""
    config, move = config_of(dataset, kind), writing.move

    def die(source, *to):
        if not source.endswith(".tmp"):  # a manifest or a record
            raise Killed
        move(source, *to)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "move", die)
        with pytest.raises(Killed):
            run(config, kind)
    return config


def n_copied(config, kind, monkeypatch, removed=REMOVED):
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        run(config, kind, removed)
    assert not (Path(config.output.path) / TEMPORARY).exists()
    return disk.n_files if kind == "files" else disk.n_tars


def touch(dataset):
    os.utime(dataset / "tars/a.tar", (1, 1))


def rewrite(dataset):
    make_tar(dataset / "tars/a.tar", [("1.jpg", b"another")])


def cut_a_tar(dataset):
    path = min((dataset / "out" / TEMPORARY).glob("*.tar"))
    path.write_bytes(path.read_bytes()[:700])


def empty_a_record(dataset):
    min((dataset / "out" / TEMPORARY).glob("[0-9a-f]*.json")).write_bytes(b"")


def cut_a_record(dataset):
    path = min((dataset / "out" / TEMPORARY).glob("[0-9a-f]*.json"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def take_a_tar_away(dataset):
    min((dataset / "out" / TEMPORARY).glob("*.tar")).unlink()


def put_another_file_where_one_was_moved_to(dataset):
    (dataset / "out/sub").mkdir()
    for path in (dataset / "out" / TEMPORARY).glob("*.tar"):
        if b"sub/d" in path.read_bytes():
            (dataset / "out/sub/d.tar").write_bytes(bytes(path.stat().st_size))
            path.unlink()


def nothing(dataset):
    pass


@pytest.mark.parametrize(
    ("happens", "expected"),
    [
        (nothing, 0),
        *((each, 1) for each in (touch, rewrite, cut_a_tar, empty_a_record, cut_a_record, take_a_tar_away)),
        (put_another_file_where_one_was_moved_to, 1),
    ],
)
def test_a_finished_tar_is_used_again_only_where_its_input_and_itself_are_as_they_were(
    dataset, monkeypatch, happens, expected
):
    config = killed_while_publishing(dataset, monkeypatch)
    happens(dataset)

    assert n_copied(config, "tars", monkeypatch) == expected

    found = tree(dataset / "out")
    shutil.rmtree(dataset / "out")
    run(config, "tars")
    assert tree(dataset / "out") == found


@pytest.mark.parametrize("kind", ["packed", "files"])
def test_loose_images_are_copied_again_in_the_group_of_one_that_has_changed(dataset, monkeypatch, kind):
    config = killed_while_publishing(dataset, monkeypatch, kind)
    (dataset / "files/12.jpg").write_bytes(b"another")

    assert n_copied(config, kind, monkeypatch) == (4 if kind == "files" else 1)

    published = b"".join(data for _, data in sorted(tree(dataset / "out").items()))
    assert b"another" in published
    assert b"c 2" not in published


def test_what_leaves_and_how_it_is_read_decides_which_tars_are_finished(dataset):
    shards = list_shards(config_of(dataset, "tars").input)
    (task,) = plan_copies(shards[:1], {}, None)
    divided = plan_copies(shards[:1], {"a": 4}, 2)

    marks = [
        *tar_marks(task, {}, Source()),
        *tar_marks(task, {"a": {"1": None}}, Source()),
        *tar_marks(task, {"a": {"1": "0" * 64}}, Source()),
        *tar_marks(task, {}, Source(image_member="jpg")),
        *tar_marks(task, {}, Source(id_field="uid")),
        *(mark for each in divided for mark in tar_marks(each, {}, Source())),
    ]

    assert len(set(marks)) == 7
    assert tar_marks(task, {"other": {"1": None}}, Source({"key": "secret"})) == marks[:1]


def test_a_shard_that_changes_while_it_is_read_is_nothing_for_another_run(dataset):
    config = config_of(dataset, "tars")
    finished = finished_files(output_path(config), {})
    tasks = plan_copies(list_shards(config.input), {}, None)
    touch(dataset)

    for task in tasks:
        list(resume_kept(task, {}, finished, read=Source()))

    assert len(finished.marks()) == len(tasks) - 1


def test_two_attempts_of_one_task_at_once_give_each_a_whole_tar(dataset):
    config = config_of(dataset, "repacked")
    finished = finished_files(output_path(config), {})
    (task, *_) = plan_copies(list_shards(config.input)[:1], {"a": 4}, 2)

    both = list(zip(*(resume_kept(task, {}, finished, read=Source()) for _ in range(2)), strict=True))

    assert [[tar.name for tar in pair] for pair in both] == [["000000"] * 2, ["000001"] * 2]
    for one, other in both:
        assert Path(one.temporary).read_bytes() == Path(other.temporary).read_bytes()
    assert finished.clear_others(None) == finished.marks() != frozenset()


def test_an_image_that_is_not_the_one_that_was_compared_is_found_where_the_tars_before_it_are_finished(dataset):
    config = config_of(dataset, "repacked")
    finished = finished_files(output_path(config), {})
    (task,) = plan_copies(list_shards(config.input)[:1], {"a": 3}, 1)
    wrong = {"a": {"3": "0" * 64}}

    for _ in range(2):
        with pytest.raises(ShardError, match="is not the one that was compared"):
            list(resume_kept(task, wrong, finished, read=Source()))
        assert len(finished.marks()) == 2


def test_a_run_that_is_forced_begins_anew(dataset, monkeypatch):
    config = killed_while_publishing(dataset, monkeypatch)

    begin(str(config.output.path), config)

    assert set(tree(dataset / "out")) == {f"{TEMPORARY}/{MANIFEST}", MANIFEST}


def test_a_record_that_names_a_file_outside_is_refused(dataset, monkeypatch):
    config = killed_while_publishing(dataset, monkeypatch)
    for path in (dataset / "out" / TEMPORARY).glob("[0-9a-f]*.json"):
        path.write_text(path.read_text().replace('"temporary":"', '"temporary":"../../'))

    with pytest.raises(ConfigError, match="does not lie below its folder"):
        run(config, "tars")


def test_after_a_failure_what_is_finished_waits_and_all_else_goes(dataset, monkeypatch):
    config = killed_while_publishing(dataset, monkeypatch)
    folder = dataset / "out" / TEMPORARY
    (folder / f"{'0' * 32}.half.tar").write_bytes(b"half")

    kept = clear_temporary(str(config.output.path), {}, wanted=None)

    assert len(kept) == 4
    assert sorted({path.suffix for path in folder.iterdir()}) == [".json", ".tar"]
    assert len(list(folder.iterdir())) == 2 * 4 + 1  # with the manifest's copy
    assert clear_temporary(str(config.output.path), {}) == frozenset()
    assert not folder.exists()
