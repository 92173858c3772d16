"""Who decodes for the embed step; no Spark and no GPU."""

import io

import numpy as np
import pytest
from PIL import Image

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ModelError
from spark_imgdedup.models.stream import ImageRecord
from spark_imgdedup.stages import embed
from spark_imgdedup.stages.embed import embed_records

SETTINGS = {
    "input": {"trim_borders": False},
    "detect": {"prepass": []},
    "embed": {"model": "timm:a_model", "device": "gpu", "batch_size": 2},
}


class CpuEncoder:
    name, dim, fingerprint = "on the CPU", 3, "mean 1"

    def preprocess(self, image):
        return np.asarray(image.resize((1, 1)), np.float32)

    def encode(self, batch):
        return batch.reshape(len(batch), 3) + 1


class GpuEncoder(CpuEncoder):
    def __init__(self):
        self.given = []

    def takes(self, jpeg):
        return True

    def start(self, pictures, batch_size):
        self.given += [type(each).__name__ for each in pictures]
        return self

    def result(self):
        return np.ones((1, 3), np.float32)

    def cells(self):
        return {}


@pytest.fixture
def rows_of(monkeypatch):
    """The rows of one JPEG by an encoder, with embed.decode as given."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(file, "JPEG")

    def run(encoder, decode):
        monkeypatch.setattr(embed, "task_device", lambda requested: "cuda:0")
        monkeypatch.setattr(embed, "cached_encoder", lambda settings: encoder)
        config = parse_config({**SETTINGS, "embed": {**SETTINGS["embed"], "decode": decode}})
        records = [ImageRecord("id", None, None, file.getvalue())]
        return [row for batch in embed_records(records, config, with_model=True, n_threads=1) for row in batch]

    return run


@pytest.mark.parametrize(("decode", "given"), [("gpu", ["Jpeg"]), ("cpu", ["ndarray"])])
def test_the_setting_decides_what_the_encoder_is_given(rows_of, decode, given):
    encoder = GpuEncoder()

    (row,) = rows_of(encoder, decode)

    assert encoder.given == given
    assert (row.width, row.height, row.rejected_because) == (30, 20, None)


def test_an_encoder_that_gets_its_pictures_from_the_cpu_cannot_leave_decoding_to_the_gpu(rows_of):
    with pytest.raises(ModelError, match=r"the transform of 'timm:a_model' is not one .* Set embed.decode to cpu"):
        rows_of(CpuEncoder(), "gpu")

    assert len(rows_of(CpuEncoder(), "cpu")) == 1
