"""Where downloaded weights lie: plain folders that can also be filled by hand, <model_dir>/<org>--<repo>/<file>."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from spark_imgdedup.errors import ModelError

log = logging.getLogger(__name__)


def folder_of(repo: str, model_dir: Path) -> Path:
    """The folder for a repository's files; no symbolic links, so that it can lie on an object store's mount."""
    return model_dir / repo.strip("/").replace("/", "--")


def find_weights(repo: str, names: Sequence[str], model_dir: Path) -> Path | None:
    """The first of the named files under model_dir, in our folder or in a model hub's cache; asks no network."""
    for name in names:
        path = folder_of(repo, model_dir) / name
        if path.is_file():
            return path
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        cached = try_to_load_from_cache(repo, name, cache_dir=model_dir)
        if isinstance(cached, str):
            return Path(cached)
    return None


def require_weights(spec: str, repo: str, names: Sequence[str], model_dir: str | None) -> Path:
    """The weights of a spec: from model_dir if one is set, and then from nowhere else; else downloaded and cached.

    Raises:
        ModelError: they are not in model_dir, or cannot be downloaded.
    """
    if model_dir is None:
        return download(spec, repo, names, None)
    path = find_weights(repo, names, Path(model_dir))
    if path is None:
        raise missing(spec, f"{repo}, file {names[0]}", folder_of(repo, Path(model_dir)) / names[0])
    return path


def download(spec: str, repo: str, names: Sequence[str], model_dir: Path | None) -> Path:
    """Fetch the first of the named files that the repository has, into model_dir or the hub's own cache.

    Raises:
        ModelError: the hub cannot be reached, or has none of the files.
    """
    from huggingface_hub import hf_hub_download

    failure: Exception | None = None
    target = folder_of(repo, model_dir) if model_dir is not None else None
    for name in names:
        log.info("%s: fetching %s from %s", spec, name, repo)
        try:
            return Path(hf_hub_download(repo, name, local_dir=target))
        except Exception as error:  # the hub client, its HTTP client and the file system share no base
            failure = failure or error
    where = (target or folder_of(repo, Path("<model_dir>"))) / names[0]
    raise unreachable(spec, f"{repo}, file {names[0]}", where, failure) from failure


def missing(spec: str, source: str, where: Path) -> ModelError:
    """Weights that a worker looked for in model_dir and did not find."""
    return ModelError(
        f"The weights of '{spec}' are not in embed.model_dir. Run spark-imgdedup fetch-model where there is internet, "
        f"or copy them from the model hub ({source}) to '{where}'."
    )


def unreachable(spec: str, source: str, where: Path, cause: Exception | None) -> ModelError:
    """Weights that could not be downloaded."""
    reason = " ".join(str(cause).split())[:200] if cause is not None else "no file"
    return ModelError(
        f"The weights of '{spec}' cannot be downloaded from {source} ({reason}). Run spark-imgdedup fetch-model where "
        f"there is internet and set embed.model_dir to its folder, or copy the file by hand to '{where}'."
    )
