"""A run on object stores: the places it has there, the jar that Spark's JVM needs, and what went wrong in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError, StorageError
from spark_imgdedup.files.reach import require_reachable as require_place
from spark_imgdedup.files.s3a import bucket_of

# What hadoop-aws 3.4.2 raises, and Java where it stands for a refusal; on Connect it comes as text alone.
_JVM_REFUSED = re.compile(
    r"(?:org\.apache\.hadoop\.fs\.s3a\.\w+(?:Exception)|java\.nio\.file\.AccessDeniedException): ([^\n]+)"
)
# Of Amazon's SDK in the JVM, below whatever Hadoop or Spark makes of it.
_JVM_CUT = re.compile(r"software\.amazon\.awssdk\.[\w.]*(?:Exception): ([^\n]+)")
# What Java raises below S3A where it trusts an answer that has not come: a class, at times a text, then its frames.
_JVM_STUMBLED = re.compile(
    r"(java\.(?:lang|io|net)\.(?!FileNotFound)\w+Exception(?:: [^\n]+)?)\n"
    r"(?:\s+at (?!org\.apache\.hadoop\.fs\.s3a\.)[^\n]+\n){0,12}\s+at org\.apache\.hadoop\.fs\.s3a\."
)
_JVM_LACKS = re.compile(r"S3AFileSystem not found|No FileSystem for scheme \"?s3a")
# The same, at the end of a traceback that came back from a worker.
_WORKER_REFUSED = re.compile(r"^(?:(?:aio)?(?:botocore|http)\.[\w.]+|PermissionError): (?!\[Errno)[^\n]+", re.MULTILINE)
_LIBRARIES = {"botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "adlfs", "azure"}


class Place(NamedTuple):
    """A place that a run reads or writes."""

    setting: str
    url: str
    options: Mapping[str, Any]
    by_jvm: bool  # else by Python alone


def places(config: Config) -> Iterator[Place]:
    """Every place of a run that may lie on an object store."""
    is_table = _reads_table(config)
    for path in config.input.paths if config.input.path is not None else ():
        yield Place("input.path", path, config.input.storage_options, is_table)
    ours = config.storage_options
    if config.cluster.embeddings_path is not None:
        yield Place("cluster.embeddings_path", config.cluster.embeddings_path, ours, True)
    for path in config.remove.paths:
        yield Place("remove.ids_path", path, ours, True)
    for path in config.score.heads.values():
        yield Place("score heads", path, ours, False)
    yield Place("work_dir", config.work_dir, ours, config.tables.schema_name is None)
    if config.output.path is not None:
        by_jvm = config.output.format not in ("webdataset", "images")
        yield Place("output.path", config.output.path, config.output.storage_options, by_jvm)


def _reads_table(config: Config) -> bool:
    try:
        return config.input.format == "table"
    except Exception:  # of any store; who reads the input says what is wrong with it
        return False


def require_reachable(config: Config) -> None:
    """Ask the store of each place, before any work, whether it lets us in.

    Raises:
        ConfigError: one does not, or there is no such bucket, or the library for it is not installed.
    """
    for place in places(config):
        if "://" in place.url:
            require_place(place.setting, place.url, place.options)


def on_s3(config: Config, *, by_jvm: bool) -> bool:
    """True where a place of the run is on S3; with `by_jvm`, one that Spark's JVM opens and Python does not alone."""
    return any(bucket_of(place.url) is not None and (place.by_jvm or not by_jvm) for place in places(config))


def s3a_packages(config: Config) -> dict[str, str]:
    """What a Spark that we start needs for S3: hadoop-aws of its own Hadoop's version, if the JVM opens a place there.

    It brings Amazon's SDK, 640 MB: not for tars alone, which Python reads and writes.
    """
    version = hadoop_version()
    if not on_s3(config, by_jvm=True) or version is None:
        return {}
    return {"spark.jars.packages": f"org.apache.hadoop:hadoop-aws:{version}"}


def hadoop_version() -> str | None:
    """The version of Hadoop in the jars of this Spark; None where they hold hadoop-aws already, or no Hadoop."""
    import pyspark

    home = os.environ.get("SPARK_HOME") or str(Path(pyspark.__file__).parent)
    names = [path.name for path in Path(home, "jars").glob("hadoop-*.jar")]
    if any(name.startswith("hadoop-aws-") for name in names):
        return None
    found = (re.fullmatch(r"hadoop-client-api-(.+)\.jar", name) for name in names)
    return next((match[1] for match in found if match), None)


def store_problem(error: BaseException) -> ConfigError | StorageError | None:
    """What a store, or the JVM on the way to it, has refused, as our error; None for any other error."""
    text = str(error)
    if _JVM_LACKS.search(text):
        version = hadoop_version() or "<the version of your Hadoop>"
        return ConfigError(
            "Spark's JVM has no hadoop-aws, so it cannot open s3://. Start Spark with --packages "
            f"org.apache.hadoop:hadoop-aws:{version} (spark.jars.packages), or with an image that has it."
        )
    if found := _JVM_REFUSED.search(text):
        what = " ".join(found[1].split())[:300]
        return ConfigError(
            f"Spark's JVM was refused by the store: {what}. Check the bucket, the credentials and the "
            "endpoint: storage_options, or what the cluster gives its JVMs."
        )
    if found := _JVM_CUT.search(text) or _JVM_STUMBLED.search(text):
        what = " ".join(found[1].split())[:300].rstrip(".")
        return StorageError(
            f"The store broke off its answer to Spark's JVM: {what}. Run again: finished steps are skipped. If it "
            "stays so, look at the store, and at the network on the way to it."
        )
    # s3fs raises PermissionError too, without the number that a local file system's has.
    is_refusal = isinstance(error, PermissionError) and error.errno is None
    is_theirs = is_refusal or type(error).__module__.partition(".")[0] in _LIBRARIES
    said = f"{type(error).__name__}: {text}" if is_theirs else next(iter(_WORKER_REFUSED.findall(text)), None)
    if said is not None:
        return ConfigError(
            f"The store refused or did not answer: {' '.join(said.split())[:300].rstrip('.')}."
            " Check the bucket, the credentials and the endpoint: storage_options, or those of the environment."
        )
    return None
