"""The stages as pyspark.ml has them, for those who build and save a `Pipeline`.

    Pipeline(stages=[ImageEmbedder(settings), SemanticKMeans(settings), DuplicateFinder(settings)])

Each class is one call of the functions in `stages/`, and has one Param: the settings of a run, as in its YAML file. It
works on classic Spark and on Spark Connect. This module alone imports pyspark when it is imported, and no other imports
this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pyspark.ml import Estimator, Model, Transformer
from pyspark.ml.param import Param, Params
from pyspark.ml.util import (
    DefaultParamsReadable,
    DefaultParamsReader,
    DefaultParamsWritable,
    DefaultParamsWriter,
)

from spark_imgdedup.config import Config, parse_config
from spark_imgdedup.config.shown import without_hidden
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import artifacts, storage
from spark_imgdedup.runs.plan import resolve_eps
from spark_imgdedup.stages.centroids import Centroids, fit_centroids
from spark_imgdedup.stages.cluster import MAX_CLOSURE_BYTES, assign_clusters
from spark_imgdedup.stages.embed import embed_images
from spark_imgdedup.stages.grouping.selection import select_in_clusters
from spark_imgdedup.stages.identify import identify_duplicates
from spark_imgdedup.stages.pairwise import score_pairs

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Settings = Config | Mapping[str, Any] | str


def _to_config(settings: Settings) -> Config:
    if isinstance(settings, Config):
        return settings
    if isinstance(settings, str):
        try:
            settings = json.loads(settings)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"settings: not JSON ({error}). Give JSON, a dict, or what load_config returns."
            ) from None
    if not isinstance(settings, Mapping):
        raise ConfigError(f"settings: sections such as {{'embed': {{…}}}} are needed, got {type(settings).__name__}.")
    return parse_config(without_hidden(settings), "settings")  # a stage that was stored has no secrets


def _to_json(settings: Settings) -> dict[str, Any]:
    """What was set, in types that JSON has; secrets are left out by the sections themselves."""
    return _to_config(settings).model_dump(mode="json", exclude_unset=True)


class _Stage(Params, DefaultParamsReadable[Any], DefaultParamsWritable):
    """The one Param, and files that both kinds of session can write and read."""

    settings: Param[dict[str, Any]] = Param(
        Params._dummy(), "settings", "settings of a run as in its YAML file: {section: {key: value}}", _to_json
    )

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        self._setDefault(settings={})
        if settings is not None:
            self.setSettings(settings)

    def setSettings(self, value: Settings) -> Self:
        """Set the settings: a dict or JSON of sections, or what `load_config` returned.

        Raises:
            ConfigError: a key is unknown or a value is out of range.
        """
        return self._set(settings=value)

    def getSettings(self) -> dict[str, Any]:
        """What was set; what was not has the defaults of `docs/configuration.md`."""
        return self.getOrDefault(self.settings)

    @property
    def config(self) -> Config:
        """The settings as the functions of `stages/` take them."""
        return _to_config(self.getOrDefault(self.settings))

    def write(self) -> _Writer:
        """A writer; `overwrite()` works on Spark Connect too, where PySpark's own does not."""
        return _Writer(self)

    @classmethod
    def read(cls) -> _Reader:
        """A reader of what `write` wrote."""
        return _Reader(cls)

    def _save_data(self, path: str) -> None:
        """Store what is no Param."""

    def _load_data(self, path: str) -> None:
        """Read it again."""


class _Writer(DefaultParamsWriter):
    instance: _Stage

    def _handleOverwrite(self, path: str) -> None:
        storage.delete(path)

    def saveImpl(self, path: str) -> None:
        # In full: the JVM, and a Connect server even more so, stands in another folder.
        super().saveImpl(storage.spark_path(path))
        self.instance._save_data(path)


class _Reader(DefaultParamsReader[Any]):
    def load(self, path: str) -> Any:
        instance = super().load(storage.spark_path(path))
        instance._load_data(path)
        return instance


class ImageEmbedder(_Stage, Transformer):
    """images -> embeddings, as `embed_images`: sections embed, detect, table and input.image_column count."""

    def _transform(self, dataset: DataFrame) -> DataFrame:
        return embed_images(dataset, self.config)


class SemanticKMeans(_Stage, Estimator["SemanticKMeansModel"]):
    """Trains centroids on embeddings, as `fit_centroids`: section cluster counts."""

    def _fit(self, dataset: DataFrame) -> SemanticKMeansModel:
        return self._copyValues(SemanticKMeansModel(centroids=fit_centroids(dataset, self.config)))


class SemanticKMeansModel(_Stage, Model):
    """embeddings -> clusters, as `assign_clusters`: sections cluster and table count.

    Args:
        settings: As for the others.
        centroids: (K, D) float32, of unit length.
    """

    def __init__(self, settings: Settings | None = None, centroids: Centroids | None = None) -> None:
        super().__init__(settings)
        self._centroids = centroids
        self._stored: artifacts.Artifact | None = None

    @property
    def centroids(self) -> Centroids:
        """(K, D) float32.

        Raises:
            ConfigError: there are none.
        """
        if self._centroids is None:
            raise ConfigError(f"{self.uid} has no centroids. Fit a SemanticKMeans, or load a saved model.")
        return self._centroids

    def _transform(self, dataset: DataFrame) -> DataFrame:
        centroids: Centroids | artifacts.Artifact = self.centroids
        if self.centroids.nbytes > MAX_CLOSURE_BYTES:
            if self._stored is None:
                raise ConfigError(
                    f"{self.uid}: {self.centroids.nbytes} bytes of centroids are too many for a closure. Save the "
                    "model where every worker can read it, then transform: they take the centroids from there."
                )
            centroids = self._stored
        return assign_clusters(dataset, centroids, self.config)

    def _save_data(self, path: str) -> None:
        self._stored = artifacts.save(storage.join(path, "centroids"), self.centroids)

    def _load_data(self, path: str) -> None:
        self._stored = artifacts.find(storage.join(path, "centroids"))
        self._centroids = artifacts.load(self._stored)


class DuplicateFinder(_Stage, Transformer):
    """clusters -> duplicates, as `score_pairs` and `identify_duplicates`: sections pairwise and identify count.

    identify.eps auto is the preset of embed.model, as in a run.
    """

    def setSettings(self, value: Settings) -> Self:
        """Set the settings.

        Raises:
            ConfigError: also where no eps follows from them, which would be found only after the fit of a pipeline.
        """
        if resolve_eps(_to_config(value)).identify.eps is None:
            raise ConfigError(
                "identify.eps is not a number, and the encoder has no preset. Set it: a DuplicateFinder needs one."
            )
        return super().setSettings(value)

    def _transform(self, dataset: DataFrame) -> DataFrame:
        config = resolve_eps(self.config)
        if config.identify.rule == "semdedup":
            return identify_duplicates(score_pairs(dataset, config), config)
        return select_in_clusters(dataset, config)
