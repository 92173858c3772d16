"""What counts as a duplicate by the method of the run: by embeddings, by hashes, or by both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.runs.sources import searched_images
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.identify import identify_by_hash, identify_copies, identify_duplicates, unite
from spark_imgdedup.stages.thresholds import eps_for_share

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def find_duplicates(tables: Tables, config: Config) -> tuple[Config, DataFrame]:
    """The duplicates, each once, and the settings with the eps that was applied (null where none was).

    A row that is found by its embedding and by its hash is listed with the embedding's pair.

    Raises:
        ConfigError: identify.target_keep_fraction cannot be kept.
    """
    if config.detect.method == "exact":
        return _at_eps(config, None), identify_copies(tables.read("copies"), searched_images(tables, config), config)
    if config.detect.method == "phash":
        near = tables.read("near_hashes")
        return _at_eps(config, None), identify_by_hash(searched_images(tables, config), near, config)
    similarities = tables.read("similarities")
    by_hash = by_bytes = None
    if config.detect.prepass:
        images = searched_images(tables, config)
        if "phash" in config.detect.prepass:
            ranked = similarities.join(images.select("image_id", "phash"), "image_id")
            by_hash = identify_by_hash(ranked, tables.read("near_hashes"), config)
        if config.collapses_copies:
            by_bytes = identify_copies(tables.read("copies"), images, config)
    if config.identify.target_keep_fraction is not None:
        config = _at_eps(config, _eps_for_target(similarities, by_hash, by_bytes, config))
    found = [identify_duplicates(similarities, config), by_hash, by_bytes]
    return config, unite(*(each for each in found if each is not None), id_column=config.id_column)


def _eps_for_target(
    similarities: DataFrame, by_hash: DataFrame | None, by_bytes: DataFrame | None, config: Config
) -> float:
    n_already = by_bytes.count() if by_bytes is not None else 0
    if by_hash is not None:  # these go whatever the eps is
        similarities = similarities.join(by_hash.select(config.id_column), config.id_column, "left_anti")
        n_already += by_hash.count()
    target = config.identify.target_keep_fraction
    assert target is not None
    return eps_for_share(similarities, target, config, n_removed_already=n_already)


def _at_eps(config: Config, eps: float | None) -> Config:
    return config.model_copy(update={"identify": config.identify.model_copy(update={"eps": eps})})
