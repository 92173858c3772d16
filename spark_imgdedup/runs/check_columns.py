"""Whether the columns to keep and to rank by will be there: known before an image is read."""

from __future__ import annotations

from collections.abc import Sequence

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.models.scorers import pixel_scorer_name


def require_metadata(config: Config, own_columns: Sequence[str] = ()) -> None:
    """Refuse metadata columns that the tables will not have.

    They are those of cluster.metadata_columns and of the ranking.

    Args:
        config: Says what the steps make of the input.
        own_columns: What the table that the run starts from has: embeddings, or images of format table.

    Raises:
        ConfigError: with the columns that there will be.
    """
    by_hashes = config.detect.method != "embedding"
    key = "pairwise.metadata_columns" if by_hashes else "cluster.metadata_columns"
    if config.pairwise.keep is not None:
        key = "pairwise.keep"
    ranked = [name for name, _ in config.rank_keys if by_hashes or name in config.kept_columns]
    wanted = dict.fromkeys((*(() if by_hashes else config.cluster.metadata_columns), *ranked))
    made = _made_columns(config)
    taken = {"image", *map(str.lower, made)}  # the user's WIDTH gives way to our width
    kept = (name for name in own_columns if config.own_embeddings or name.lower() not in taken)
    known = dict.fromkeys((*kept, *made))
    if missing := [name for name in wanted if name not in known]:
        remedy = "correct the name" if own_columns else "name a field of the samples' json in input.json_fields"
        raise ConfigError(
            f"{key}: there is no column {', '.join(missing)}. There are {', '.join(known)}. Leave it out, or {remedy}."
        )


def _made_columns(config: Config) -> list[str]:
    names = []
    if not config.own_embeddings:
        names = [name for name in schemas.column_names(schemas.EMBEDDINGS) if name != "embedding"]
        names += config.input.json_fields
        names += [f"{pixel_scorer_name(spec)}_score" for spec in config.embed.pixel_scorers]
    if config.filters_first:
        scores = (*config.score.heads, *(each.name for each in config.score.scorers))
        names += [f"{name}_score" for name in scores]
    return [*names, *(["dup_count"] if config.collapses_copies else [])]
