"""Samples that lie in no tar yet, as tars. No Spark."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from spark_imgdedup.errors import ShardError
from spark_imgdedup.files import storage
from spark_imgdedup.files.copying.copy_plan import Part
from spark_imgdedup.files.copying.tar_writer import KeptSample, TarWriter, WrittenTar
from spark_imgdedup.files.tars.member_names import unescaped
from spark_imgdedup.files.tars.shards import split_name


def pack_samples(
    samples: Iterable[tuple[str, Mapping[str, bytes]]], per_tar: int, folder: str, write: Mapping[str, Any]
) -> Iterator[WrittenTar]:
    """Samples, given as (key, data by suffix), as tars of `per_tar` samples; none where there is no sample.

    Raises:
        ShardError: no reader would find a sample again as it was given.
    """
    waiting = iter(samples)
    for number in itertools.count():
        if (first := next(waiting, None)) is None:
            return
        with TarWriter(Part(f"{number:06d}"), folder, write) as tar:
            keys: set[str] = set()
            for key, members in itertools.chain([first], itertools.islice(waiting, per_tar - 1)):
                _require_readable(key, members, keys)
                keys.add(key)
                tar.begin_sample()
                for suffix, data in members.items():
                    info = tarfile.TarInfo(unescaped(f"{key}.{suffix}"))
                    info.size = len(data)
                    tar.add(info, io.BytesIO(data))
            yield tar.close()


def _require_readable(key: str, members: Mapping[str, bytes], keys: set[str]) -> None:
    wrong = next((suffix for suffix in members if split_name(unescaped(f"{key}.{suffix}")) != (key, suffix)), None)
    if wrong is not None:
        raise ShardError(
            f"the member '{key}.{wrong}' would not be read as '{wrong}' of the sample '{key}': a key ends at the first "
            "dot of its last part, which is not empty. Replace the dots, or use another id."
        )
    if not members:
        raise ShardError(f"the sample '{key}' has no member, and a tar holds only members. Leave such rows out.")
    if key in keys:
        raise ShardError(f"two samples of one tar have the key '{key}': they would be read as one. Make keys unique.")


def pack_files(
    part: Part | str,
    files: Iterable[tuple[str, str, str]],
    folder: str,
    *,
    read: Mapping[str, Any],
    write: Mapping[str, Any],
) -> WrittenTar:
    """Loose files, given as (image_id, name in the tar, URL), as one tar, `part` or of that name."""
    with TarWriter(Part(part) if isinstance(part, str) else part, folder, write) as tar:
        for image_id, name, url in files:
            info = tarfile.TarInfo(name)
            info.size = storage.size(url, read)
            tar.begin_sample(KeptSample(image_id, image_id.rpartition("/")[0], image_id))
            with storage.open_read(url, read) as source:
                tar.add(info, source)
        return tar.close()
