"""Loose image files: which there are, and the bytes of each or why it has none. No Spark."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from spark_imgdedup.config import InputConfig
from spark_imgdedup.counts import not_read_in_words
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage
from spark_imgdedup.files.filesystems import filesystem
from spark_imgdedup.files.listing import is_text, list_input
from spark_imgdedup.files.owning.names import is_inner
from spark_imgdedup.files.tars.shards import input_root, name_below
from spark_imgdedup.files.walk import is_local
from spark_imgdedup.formats import IMAGE_SUFFIXES

NOT_UTF8 = "name that is not UTF-8"
# Files that are fetched from a store at a time: each costs it tens of milliseconds, whatever its size.
FETCHED_AT_ONCE = 8


class ImageFile(NamedTuple):
    """A loose image."""

    name: str  # path below input.root, extension included: its image_id
    n_bytes: int
    stamp: str

    @property
    def folder(self) -> str:
        """Its folder below input.root."""
        return posixpath.dirname(self.name)


class Content(NamedTuple):
    """The bytes of a file, or the reason why there are none, and one line about it."""

    data: bytes | None
    reason: str | None = None
    error: str | None = None


def list_images(config: InputConfig) -> tuple[list[ImageFile], Mapping[str, int]]:
    """The loose images that input.path names, sorted by name, and how many files are not read, by reason.

    Raises:
        ConfigError: there is none, a list or glob has no input.root, or an image lies outside of it.
    """
    root = input_root(config)
    found = list_input(config.paths, IMAGE_SUFFIXES, config.storage_options)
    names = ((name_below(root, file.url), file) for file in found.files)
    images = [ImageFile(name, file.n_bytes, file.stamp) for name, file in names if is_text(name)]
    n_odd = len(found.files) - len(images)
    not_read = {**found.not_read, **({NOT_UTF8: n_odd} if n_odd else {})}
    if not images:
        raise ConfigError(
            f"input.path: no image found in {', '.join(config.paths)}{not_read_in_words(not_read)}. Check the path, or "
            "set input.format."
        )
    return sorted(images), not_read


def read_files(files: Iterable[ImageFile], root: str, config: InputConfig) -> Iterator[tuple[ImageFile, Content]]:
    """The files with their bytes, in order. From a store several are fetched at a time.

    Args:
        files: Of `list_images`.
        root: Of `input_root`.
        config: `max_image_bytes` and the storage options count.

    Raises:
        OSError: a store fails. What is wrong with one file on a disk, or a file that is gone, is its reason.
    """

    def read(file: ImageFile) -> Content:
        return _read(file, storage.join(root, file.name), config)

    fs, _ = filesystem(root, config.storage_options)
    if is_local(fs):
        return ((file, read(file)) for file in files)
    return _ahead(files, read)


def url_below(root: str, name: str) -> str:
    """The URL of an image by a name that a table or a list of ids gives.

    Raises:
        ValueError: it would lead out of `root`.
    """
    if "" in name.split("/") or not is_inner(name):
        raise ValueError(f"{name!r} is no path below {root}")
    return storage.join(root, name)


def too_large(n_bytes: int, config: InputConfig) -> Content | None:
    """The content of a file that has more bytes than it may have, which is not opened; None for others."""
    if n_bytes <= config.max_image_bytes:
        return None
    return Content(None, "too_large", f"{n_bytes} bytes, input.max_image_bytes is {config.max_image_bytes}")


def _read(file: ImageFile, url: str, config: InputConfig) -> Content:
    if (refused := too_large(file.n_bytes, config)) is not None:
        return refused
    fs, _ = filesystem(url, config.storage_options)
    try:
        with storage.open_read(url, config.storage_options) as stream:
            data = stream.read(config.max_image_bytes + 1)  # it may have grown
    except OSError as error:
        # A store that fails is asked again, by Spark; it says nothing about the image.
        if not is_local(fs) and not isinstance(error, FileNotFoundError):
            raise
        return Content(None, "unreadable", f"the file cannot be read: {type(error).__name__}: {error.strerror}")
    if len(data) > config.max_image_bytes:
        return Content(None, "too_large", f"it has grown, and input.max_image_bytes is {config.max_image_bytes}")
    return Content(data)


def _ahead(files: Iterable[ImageFile], read: Callable[[ImageFile], Content]) -> Iterator[tuple[ImageFile, Content]]:
    waiting: deque[tuple[ImageFile, Future[Content]]] = deque()
    with ThreadPoolExecutor(FETCHED_AT_ONCE, thread_name_prefix="fetch") as pool:
        try:
            for file in files:
                waiting.append((file, pool.submit(read, file)))
                if len(waiting) >= FETCHED_AT_ONCE:
                    first, content = waiting.popleft()
                    yield first, content.result()
            while waiting:
                first, content = waiting.popleft()
                yield first, content.result()
        finally:  # a consumer that stops early must not wait for files nobody wants
            for _, content in waiting:
                content.cancel()
