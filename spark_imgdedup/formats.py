"""The formats of images, tars and tables that are read, and the suffixes that files of them have: one list for all."""

from __future__ import annotations

# Pillow's names, in the order in which they are tried, with the suffixes that Pillow registers for them. MPO, the
# pictures of stereo cameras, is opened as JPEG. HEIF needs the extra `heic`, AVIF Pillow 11.3: without them such files
# are named as unreadable, and the reason says what to install.
SUFFIXES_OF: dict[str, tuple[str, ...]] = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif", "mpo"),
    "PNG": ("png", "apng"),
    "WEBP": ("webp",),
    "GIF": ("gif",),
    "BMP": ("bmp",),
    "TIFF": ("tif", "tiff"),
    "AVIF": ("avif", "avifs"),
    "HEIF": ("heic", "heics", "heif", "heifs", "hif"),
    "JPEG2000": ("jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
    "PPM": ("ppm", "pgm", "pbm", "pnm", "pfm"),
    "QOI": ("qoi",),
}
FORMATS = tuple(SUFFIXES_OF)
IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)
# What a shard's file may be called, as GNU tar's -a knows it; how it is compressed is told by its first bytes.
TAR_SUFFIXES = (
    *("tar", "tar.gz", "tgz", "taz", "tar.bz2", "tbz", "tbz2", "tz2"),
    *("tar.xz", "txz", "tar.zst", "tar.zstd", "tzst"),
)
TABLE_SUFFIXES = ("parquet", "parq", "pq")
