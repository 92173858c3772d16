"""Copying and publishing an output: what the step `remove` does but for Spark."""

from __future__ import annotations

import io
import tarfile

import numpy as np

from spark_imgdedup.files import storage
from spark_imgdedup.files.copying.copy_plan import plan_copies
from spark_imgdedup.files.copying.finished import tar_marks
from spark_imgdedup.files.copying.kept_members import Source
from spark_imgdedup.files.copying.resume import resume_kept
from spark_imgdedup.files.owning import lease, publishing, work_dir
from spark_imgdedup.files.tars.shards import list_shards
from tests.faults.places import Place, Protocol
from tests.tars import tar_bytes

N_TARS, N_SAMPLES = 3, 4
# Of each tar, the first sample leaves, and with the first output the second too.
REMOVED = {"before": ("0000", "0001"), "after": ("0000",)}


def _prepare_output(place: Place) -> None:
    """Shards, and an output of an earlier run with a tar that the new one has not."""
    for number in range(N_TARS + 1):
        members = [(f"{key:04}.txt", f"{number} {key} ".encode() * 400) for key in range(N_SAMPLES)]
        place.write(f"in/{number}.tar", tar_bytes(members))
    _write_output(place, "before")
    storage.delete_file(place.below(f"in/{N_TARS}.tar"), place.options)


def _write_output(place: Place, version: str) -> None:
    """Take the folders, copy what is not finished, publish, record; nothing where all of it is there."""
    config = place.config()
    path = publishing.output_path(config)
    held = [
        lease.take(lease.Place(setting, url, place.options), "remove")
        for setting, url in (("work_dir", config.work_dir), ("output.path", path))
    ]
    try:
        if place.version() == version and publishing.is_published(config):
            return
        work_dir.claim(config, ["remove", "cluster"])
        publishing.begin(path, config, None)
        tars = _copied(place, path, version)
        place.tables().write_array("centroids", np.zeros(1, np.float32), {})  # the step's table: its record goes first
        publishing.publish_files(path, tars, config)
        place.finish(version)
    finally:
        for each in held:
            each.release()


def _copied(place: Place, path: str, version: str) -> dict[str, str]:
    """Where each tar is below _temporary, those among them that an earlier attempt has finished."""
    finished, read = publishing.finished_files(path, place.options), Source(place.options)
    tasks = plan_copies(list_shards(place.config().input), {}, None)
    gone = {shard.name: dict.fromkeys(REMOVED[version]) for task in tasks for shard in task.shards}
    finished.clear_others({mark for task in tasks for mark in tar_marks(task, gone, read)})
    tars = (tar for task in tasks for tar in resume_kept(task, gone, finished, read=read))
    return {f"{tar.name}.tar": tar.temporary for tar in tars}


def _look_at_output(place: Place) -> None:
    """A tar that is there is whole; where the output is complete and recorded, it is one version's."""
    config = place.config()
    listed = storage.list_files(place.below("out"), ".tar", place.options)
    names = [storage.base_name(file.url) for file in listed]
    seen = {name: _keys(place.read(f"out/{name}")) for name in names}
    keys = [f"{key:04}" for key in range(N_SAMPLES)]
    versions = {name: tuple(key for key in keys if key not in gone) for name, gone in REMOVED.items()}
    assert set(seen.values()) <= set(versions.values()), seen
    if place.version() != "after" or not publishing.is_published(config):
        return
    assert seen == {f"{number}.tar": versions["after"] for number in range(N_TARS)}, "the record says that it is done"


def _keys(data: bytes) -> tuple[str, ...]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tuple(name[:4] for name in tar.getnames())


OUTPUT = Protocol("output", _prepare_output, lambda place: _write_output(place, "after"), _look_at_output)
