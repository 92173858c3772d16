"""Copy the samples that stay from tar to tar, bytes verbatim. No Spark, no decoding.

Every tar is written under an attempt-unique name below `_temporary`; whoever planned the work gives it its final name.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from spark_imgdedup.files.copying.copy_plan import CopyTask
from spark_imgdedup.files.copying.kept_members import KeptMember, Source, kept_members
from spark_imgdedup.files.copying.member_headers import seen_by_readers, without_pax
from spark_imgdedup.files.copying.raw_pieces import piece_of, raw_heads
from spark_imgdedup.files.copying.removal_check import Gone
from spark_imgdedup.files.copying.tar_writer import KeptSample, TarWriter, WrittenTar
from spark_imgdedup.files.tars.gather import open_tar
from spark_imgdedup.files.tars.member_names import unescaped
from spark_imgdedup.files.tars.shards import Member, Sample, Shard, sample_id, split_name
from spark_imgdedup.files.tars.strict_headers import DamagedTarError, carries_data

# Where repacked tars keep members of no sample: WebDataset's readers pass over folders of such a name.
NO_SAMPLE = "__no_sample__"


def copy_kept(
    task: CopyTask, removed: Mapping[str, Gone], folder: str, *, read: Source, write: Mapping[str, Any]
) -> Iterator[WrittenTar]:
    """Carry out a task: the kept samples of its shards, in order, into its parts.

    Args:
        task: From `plan_copies`.
        removed: Keys to leave out, by shard name.
        folder: Where temporary tars go.
        read: The input.
        write: Storage options of the output.

    Raises:
        ShardError: the image of a sample that leaves is not the one that was compared.
        ConfigError: the output takes no more.
    """
    waiting = iter(task.parts)
    n_begun = 0  # kept samples that began so far, the skipped ones among them
    with ExitStack() as open_tars:
        tar = open_tars.enter_context(TarWriter(next(waiting), folder, write))
        for shard in task.shards:
            with open_tar(shard, read.options) as stream:
                try:
                    gone = removed.get(shard.name, {})
                    for member in kept_members(stream, shard, gone, read, is_repack=task.is_repack):
                        n_begun += member.is_first
                        if 0 < task.skip >= n_begun:
                            continue
                        if member.is_first and tar.is_full:
                            yield tar.close()
                            if (part := next(waiting, None)) is None:
                                return
                            tar = open_tars.enter_context(TarWriter(part, folder, write))
                        if member.is_first:
                            tar.begin_sample(KeptSample(f"{shard.name}/{member.key}", shard.name, str(member.key)))
                        _copy_member(member, tar, shard, task, read)
                except DamagedTarError as error:
                    tar.written.damage.append(f"{shard.url}: {error}")
                tar.write_pieces()
        yield tar.close()


def _copy_member(member: KeptMember, tar: TarWriter, shard: Shard, task: CopyTask, source: Source) -> None:
    if member.file is not None:
        tar.add(_named(member, shard, task), member.file, of_no_sample=True)
        return
    sidecar = None if source.id_field is None else _sidecar(member)
    heads = None if task.is_repack else raw_heads(member.info, member.stream)
    if heads is not None and sidecar is None and (piece := piece_of(member.info, member.stream)) is not None:
        tar.add_piece(piece, member.info.size)
        return
    data = tar.copy(_named(member, shard, task), member.stream, heads=heads, want=sidecar is not None)
    if sidecar is not None and tar.sample is not None and tar.sample.key == member.key:
        sidecar.data = data
        tar.sample.image_id, _ = sample_id(shard.name, Sample(tar.sample.key, [sidecar]), source.id_field)


def _named(member: KeptMember, shard: Shard, task: CopyTask) -> tarfile.TarInfo:
    return _renamed(member.info, unescaped(shard.name)) if task.is_repack else member.info


def _sidecar(member: KeptMember) -> Member | None:
    """The member as one that may say its sample's id."""
    found = Member(member.info, (split_name(member.info.name) or ("", ""))[1])
    return found if found.is_sidecar and carries_data(member.info) else None


def _renamed(info: tarfile.TarInfo, shard_name: str) -> tarfile.TarInfo:
    """The member under its shard's name: the key becomes the old image_id, and keys of two shards never meet."""
    folder = seen_by_readers(shard_name)
    below = folder if split_name(info.name) else f"{NO_SAMPLE}/{folder}"
    info.name = f"{below}/{info.name}"
    if info.islnk():
        info.linkname = f"{folder}/{info.linkname}"
    info.pax_headers = without_pax(info, "path", "linkpath")
    return info
