"""Removes near-duplicate images and video clips from training datasets, on the Spark cluster you already have.

Importing this package imports neither Spark nor a model: names are looked up when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark_imgdedup.api import eps_table, run, sample
    from spark_imgdedup.checkup import doctor
    from spark_imgdedup.config import Config, load_config
    from spark_imgdedup.datasource import register
    from spark_imgdedup.demo import sample_shards
    from spark_imgdedup.errors import ImgDedupError
    from spark_imgdedup.pipeline import preview
    from spark_imgdedup.report.result import Result
    from spark_imgdedup.runs.session import get_session
    from spark_imgdedup.stages.centroids import fit_centroids
    from spark_imgdedup.stages.cluster import assign_clusters
    from spark_imgdedup.stages.embed import embed_images
    from spark_imgdedup.stages.grouping.selection import select_in_clusters
    from spark_imgdedup.stages.identify import identify_duplicates
    from spark_imgdedup.stages.pairwise import score_pairs
    from spark_imgdedup.stages.read import read_images
    from spark_imgdedup.stages.remove import remove_images
    from spark_imgdedup.stages.score import filters_of, score_images

__version__ = "0.1.0"

__all__ = [
    "Config",
    "ImgDedupError",
    "Result",
    "assign_clusters",
    "doctor",
    "embed_images",
    "eps_table",
    "filters_of",
    "fit_centroids",
    "get_session",
    "identify_duplicates",
    "load_config",
    "preview",
    "read_images",
    "register",
    "remove_images",
    "run",
    "sample",
    "sample_shards",
    "score_images",
    "score_pairs",
    "select_in_clusters",
]

# The module of each name.
_HOME = {
    "Config": "config",
    "load_config": "config",
    "ImgDedupError": "errors",
    "run": "api",
    "sample": "api",
    "eps_table": "api",
    "preview": "pipeline",
    "Result": "report.result",
    "doctor": "checkup",
    "sample_shards": "demo",
    "get_session": "runs.session",
    "register": "datasource",
    "assign_clusters": "stages.cluster",
    "fit_centroids": "stages.centroids",
    "embed_images": "stages.embed",
    "identify_duplicates": "stages.identify",
    "score_pairs": "stages.pairwise",
    "read_images": "stages.read",
    "remove_images": "stages.remove",
    "filters_of": "stages.score",
    "score_images": "stages.score",
    "select_in_clusters": "stages.grouping.selection",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'spark_imgdedup' has no attribute '{name}'; it exports {', '.join(__all__)}")
    return getattr(importlib.import_module(f"spark_imgdedup.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
