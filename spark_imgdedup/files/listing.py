"""The files of a dataset: those that are read, and how many are not, by reason. Nothing below an input is passed over.

Not read is what lies in hidden folders, what is hidden itself, what is no image (or no tar), and the marks that Spark,
and we, leave beside their files. A file of 0 bytes is read: it is an unreadable image, or a damaged tar.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage
from spark_imgdedup.files.walk import in_hidden_folder
from spark_imgdedup.formats import TABLE_SUFFIXES

HIDDEN_FOLDER, HIDDEN_FILE, MARKER = "hidden folder", "hidden file", "marker"
EMPTY = "empty"
NO_SUFFIX, ODD_SUFFIX, OTHERS = "no suffix", "odd suffix", "others"
# Names of files that Spark, Delta and we leave beside data.
_MARKERS = ("_SUCCESS", "_metadata", "_common_metadata", "_spark_imgdedup.json")
_MARKER_STARTS = ("_committed_", "_started_")
# A longer "suffix" is a part of a sentence.
MOST_SUFFIX_CHARACTERS = 12
# More reasons are counted together: a folder of a.00001, a.00002, … has one suffix a file.
MOST_REASONS = 30


@dataclass(frozen=True)
class Listing:
    """The files that are read, sorted by URL and each once, and how many are not, by reason."""

    files: tuple[storage.FileInfo, ...]
    not_read: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """Size of the files that are read together, in bytes."""
        return sum(file.n_bytes for file in self.files)


def list_input(paths: Sequence[str], suffixes: Collection[str], options: storage.Options | None = None) -> Listing:
    """All that lies below folders, files and patterns: the files with one of these suffixes, and a count of the others.

    A file that two of the paths name is read once.

    Args:
        paths: As `input.path` names them.
        suffixes: In small letters, without the first dot.
        options: Storage options.

    Raises:
        ConfigError: there is nothing at a path, a folder cannot be listed, or a link leads nowhere.
    """
    read: dict[str, storage.FileInfo] = {}
    passed: dict[str, str] = {}
    endings = tuple(f".{suffix}" for suffix in suffixes)
    for path in paths:
        is_there = False
        for file, below, kind in storage.find_files(path, options):
            is_there = True
            why = _why_not(below or storage.base_name(file.url), endings)
            if why is None:
                storage.require_file(file.url, kind)
                read[file.url] = file
            else:
                passed[file.url] = why
        if not is_there and not storage.exists(path, options):
            raise ConfigError(f"input.path: {path}: there is nothing. Correct the path, or leave it out of the list.")
    files = sorted((read[url] for url in read), key=lambda file: file.url)
    return Listing(tuple(files), _few(Counter(why for url, why in passed.items() if url not in read)))


def count_others(paths: Sequence[str], read: Collection[str], options: storage.Options | None = None) -> dict[str, int]:
    """How many files lie below some paths beside those that are read, by reason.

    Args:
        paths: Folders, files and patterns.
        read: URLs.
        options: Storage options.

    Raises:
        ConfigError: a folder cannot be listed.
    """
    passed = {}
    for path in paths:
        for file, below, _ in storage.find_files(path, options):
            if file.url not in read:
                why = _why_not(below or storage.base_name(file.url), ()) or OTHERS
                is_table = why in TABLE_SUFFIXES
                passed[file.url] = EMPTY if is_table and not file.n_bytes else why
    return _few(Counter(passed.values()))


def is_text(name: str) -> bool:
    """False for a name with bytes that are not UTF-8, which no table can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _why_not(below: str, endings: tuple[str, ...]) -> str | None:
    *folders, name = below.split("/")
    if in_hidden_folder(folders):
        return HIDDEN_FOLDER
    if name in _MARKERS or name.startswith(_MARKER_STARTS) or (name.startswith(".") and name.endswith(".crc")):
        return MARKER
    if name.startswith("."):
        return HIDDEN_FILE
    if name.lower().endswith(endings):
        return None
    suffix = posixpath.splitext(name)[1].lower()[1:]
    if not suffix:
        return NO_SUFFIX
    is_plain = suffix.isascii() and suffix.isalnum() and len(suffix) <= MOST_SUFFIX_CHARACTERS
    return suffix if is_plain else ODD_SUFFIX


def _few(counts: Counter[str]) -> dict[str, int]:
    """The counts, the largest first; of very many reasons those of the smallest together."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ordered[:MOST_REASONS], ordered[MOST_REASONS:]
    return dict(shown) | ({OTHERS: sum(n for _, n in rest)} if rest else {})
