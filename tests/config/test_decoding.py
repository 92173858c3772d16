"""Settings that contradict embed.decode: gpu."""

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.runs.fingerprints import row_settings

FITTING = {
    "input": {"trim_borders": False},
    "embed": {"decode": "gpu", "device": "gpu", "model": "timm:a_model"},
    "detect": {"prepass": []},
}


def changed(section, **values):
    return {**FITTING, section: {**FITTING[section], **values}}


def test_the_cpu_decodes_unless_it_is_said_otherwise():
    assert parse_config({}).embed.decode == "cpu"
    assert parse_config(FITTING).embed.decode == "gpu"


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        (changed("embed", device="auto"), "Set embed.device to gpu"),
        (changed("embed", model="efficientnet-lite0"), "'efficientnet-lite0' gets them from the CPU"),
        (changed("detect", prepass=["phash", "exact"]), "and exact and phash hashes are of the CPU's"),
        (changed("detect", method="phash"), "phash hashes are of the CPU's. Set detect.prepass"),
        (changed("input", trim_borders=True), "Set input.trim_borders to false"),
        (changed("embed", pixel_scorers=["open_nsfw"]), "no pixels for open_nsfw"),
        ({key: value for key, value in FITTING.items() if key != "detect"}, r"exact hashes .* detect.prepass to \[\]"),
    ],
)
def test_what_looks_at_the_cpus_pixels_contradicts_it(settings, remedy):
    with pytest.raises(ConfigError, match=remedy) as caught:
        parse_config(settings)

    assert len(str(caught.value).splitlines()) == 1


def test_all_contradictions_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_config({"embed": {"decode": "gpu", "pixel_scorers": ["open_nsfw"]}})

    assert len(str(caught.value).splitlines()) == 5


def test_the_pixels_decide_the_result():
    gpu, cpu = parse_config(FITTING), parse_config(changed("embed", decode="cpu"))

    assert row_settings("embed", gpu, {}) != row_settings("embed", cpu, {})
