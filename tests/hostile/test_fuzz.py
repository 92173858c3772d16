"""Random changes to a tar and to images: more of them by `make hostile`."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spark_imgdedup.errors import ShardError
from spark_imgdedup.files.tars.shards import iter_samples
from spark_imgdedup.files.tars.strict_headers import DamagedTarError
from spark_imgdedup.files.tars.tar_stream import TarStream
from spark_imgdedup.kernels.images import ImageError, decode_image
from tests.hostile.headers import END
from tests.hostile.tars import N_SAMPLES, sample
from tests.tars import encoded

fuzzed = settings(
    max_examples=int(os.environ.get("HOSTILE_EXAMPLES", "150")), suppress_health_check=[HealthCheck.too_slow]
)
SOUND = b"".join(map(sample, range(N_SAMPLES))) + END
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# (place as a share of the file, new bytes, bytes taken out)
changes = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=600), st.integers(0, 600)), min_size=1, max_size=6)


class OneWay(io.BytesIO):
    """A stream that cannot go back, as an object store's."""

    def seekable(self):
        return False


def changed(data, edits):
    for share, new, n_out in edits:
        at = int(share * len(data))
        data = data[:at] + new + data[at + n_out :]
    return data


@pytest.mark.parametrize("stream", [io.BytesIO, OneWay])
@fuzzed
@given(edits=changes)
def test_a_changed_tar_gives_samples_and_then_one_kind_of_error(stream, edits):
    n_bytes, said = 0, ""
    try:
        for found in iter_samples(TarStream(stream(changed(SOUND, edits))), lambda _: True, max_bytes=2**20):
            n_bytes += sum(len(member.data or b"") for member in found.members)
    except (DamagedTarError, ShardError) as error:  # ShardError: a key that comes twice
        said = str(error)
    assert said.isprintable()
    assert n_bytes <= 2 * len(SOUND) + 2**20  # no sparse header makes much of little


@pytest.mark.parametrize("image_format", FORMATS)
@fuzzed
@given(edits=changes)
def test_a_changed_image_is_a_picture_or_one_kind_of_error(image_format, edits):
    data, reason, said = changed(encoded(image_format), edits), "unreadable", ""
    try:
        decode_image(data, max_pixels=10**7, with_digest=True)
    except ImageError as error:
        reason, said = error.reason, str(error)
    assert reason in ("unreadable", "too_large")
    assert said.isprintable()
