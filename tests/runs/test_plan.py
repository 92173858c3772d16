"""Which steps a run takes: what a share to keep leaves to do, and what is missing for the steps asked for."""

from __future__ import annotations

import sys

import pytest

from spark_imgdedup.config import DetectConfig, parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.runs.plan import idle_steps, plan_steps, resolve_eps

WITHOUT_PRESET = {"embed": {"model": "tests.encoders:ColourEncoder"}}


def settings(eps, target, **sections):
    identify = {"eps": eps, "target_keep_fraction": target}
    return parse_config({"input": {"path": "data"}, "output": {"path": "out"}, "identify": identify, **sections})


@pytest.mark.parametrize("eps", ["auto", None])
def test_a_share_to_keep_leaves_identify_and_remove_to_do_where_there_is_no_eps(eps):
    assert {"identify", "remove"} <= idle_steps(settings(eps, None, **WITHOUT_PRESET)).keys()
    assert not {"identify", "remove"} & idle_steps(settings(eps, 0.7, **WITHOUT_PRESET)).keys()
    assert plan_steps(settings(eps, 0.7, **WITHOUT_PRESET), ["identify", "remove"]) == ["identify", "remove"]


def test_a_share_to_keep_goes_before_the_encoders_preset():
    assert resolve_eps(settings("auto", None)).identify.eps == 0.22
    assert resolve_eps(settings("auto", 0.7)).identify.eps is None


@pytest.mark.parametrize("eps", [0, 0.3])
def test_a_number_and_a_share_to_keep_are_refused_together(eps):
    with pytest.raises(ConfigError) as caught:
        settings(eps, 0.7)

    assert str(caught.value) == (
        "config: identify.target_keep_fraction: stands in place of identify.eps, which is "
        f"{float(eps)}; give one of them, got 0.7."
    )


@pytest.mark.parametrize("target", [0, 1, 70, "most", True])
def test_a_share_lies_between_0_and_1(target):
    with pytest.raises(ConfigError, match=r"identify\.target_keep_fraction: "):
        settings(None, target)


def test_perceptual_hashes_without_their_library_are_refused_before_any_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagehash", None)  # as where it is not installed
    by_hash = parse_config({"input": {"path": "data"}, "output": {"path": "out"}, "detect": {"prepass": ["phash"]}})

    with pytest.raises(ConfigError, match=r"need imagehash\. Run `pip install 'spark-imgdedup\[phash\]'`"):
        plan_steps(by_hash)
    assert plan_steps(by_hash, ["report"]) == ["report"]
    assert "embed" in plan_steps(by_hash.model_copy(update={"detect": DetectConfig(prepass=("exact",))}))
