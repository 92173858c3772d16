"""Headers of members as a tar can hold them, whatever the tar said that they come from. No Spark."""

from __future__ import annotations

import copy
import math
import re
import struct
import tarfile

from spark_imgdedup.files.listing import is_text

# What a header has room for in its field of a device's number, POSIX.1-2008.
_MAX_DEVICE = 8**7
# WebDataset's readers pass over members whose path begins with such a part.
_HIDDEN_PART = re.compile(r"__[^/]*__(?=/|$)")
_ESCAPED_PART = re.compile(r"%(?:25)*5F_[^/]*__(?=/|$)")


def storable(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """A header that can be written: what no tar can say (a time that is no number) is left out, name and size stay."""
    made = copy.copy(info)
    if isinstance(made.mtime, float) and not math.isfinite(made.mtime):
        made.mtime = 0
        made.pax_headers = {key: value for key, value in made.pax_headers.items() if key != "mtime"}
    made.pax_headers = {key: value for key, value in made.pax_headers.items() if key and is_text(key)}
    for name in ("devmajor", "devminor"):
        if not 0 <= getattr(made, name) < _MAX_DEVICE:
            setattr(made, name, 0)
    try:
        made.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")
    except (ValueError, TypeError, AttributeError, OverflowError, struct.error):
        bare = tarfile.TarInfo(info.name)
        bare.size, bare.type, bare.linkname = info.size, info.type, info.linkname
        return bare
    return made


def without_pax(info: tarfile.TarInfo, *names: str) -> dict[str, str]:
    """The extended headers of a member but for these; they would override its fields."""
    return {key: value for key, value in info.pax_headers.items() if key not in names}


def seen_by_readers(folder: str) -> str:
    """A shard's name as the folder of its samples: `__train__` becomes `%5F_train__`, of which readers see what is in.

    No two names become one.
    """
    if _ESCAPED_PART.match(folder):
        return f"%25{folder[1:]}"
    return f"%5F{folder[1:]}" if _HIDDEN_PART.match(folder) else folder
