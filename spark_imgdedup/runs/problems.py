"""What went wrong in a worker, in Spark's JVM or on storage, as one line of ours. What Java said stays as its cause."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import walk_tb

from spark_imgdedup import errors
from spark_imgdedup.errors import ConfigError, ImgDedupError, SparkError, StorageError
from spark_imgdedup.runs.object_stores import store_problem

# The last line of a traceback that came back from a worker.
_OURS = re.compile(r"^spark_imgdedup\.errors\.(\w+Error): (.+)$", re.MULTILINE)
_LOCAL = re.compile(r"^(?:\w*Error|OSError): \[Errno (\d+)\] ([^\n]+)", re.MULTILINE)
_FULL, _READ_ONLY = "No space left on device|Disk quota exceeded", "Read-only file system"
MAX_CHARACTERS = 400
_CLASS = re.compile(r"java\.lang\.(?:ClassNotFoundException|NoClassDefFoundError): ([\w.$/]+)")
# What Py4J says, and PySpark, of a JVM that is not there.
_SPARKS_OWN = frozenset({"py4j", "pyspark"})
_NO_ANSWER = re.compile(
    r"Answer from Java side is empty|Error while sending or receiving|Error while receiving"
    r"|trying to connect to the Java server|CANNOT_OPEN_SOCKET"
    r"|\AAn error occurred while calling \S+\Z"  # with nothing of Java's behind it: the answer was cut
)
_NO_SOURCE = re.compile(r"Failed to find the data source: ([\w.]*\w)")
_DAMAGED = re.compile(
    r"CANNOT_READ_FILE_FOOTER|is not a Parquet file|too small to be a Parquet file|Checksum error: |ChecksumException"
)
_FILE = re.compile(r"\b(?:file:|s3a?://|gs://|abfss?://|hdfs://)[^\s,'\"]*\.parquet")


@contextmanager
def errors_in_our_words() -> Iterator[None]:
    """Inside, what Spark, Java and storage raise comes as an error of ours where we know what it means.

    Raises:
        ImgDedupError: in one line; its __cause__ is what was raised.
    """
    try:
        yield
    except ImgDedupError:
        raise
    except Exception as error:  # of Spark, Spark Connect, Py4J, the system or a store's library
        ours = in_our_words(error)
        if ours is None:
            raise
        raise ours from error


def in_our_words(error: Exception) -> ImgDedupError | None:
    """The error of ours that an error stands for; None where we do not know it, and it may be a fault of ours."""
    known = worker_error(error) or _local_problem(error) or store_problem(error) or _spark_problem(str(error))
    return known or _dead_jvm(error)


def worker_error(error: Exception) -> ImgDedupError | None:
    """The ImgDedupError that was raised in a Spark worker and came back inside a traceback."""
    found = _OURS.findall(str(error))
    kind = getattr(errors, found[-1][0], None) if found else None
    return kind(found[-1][1]) if kind is not None and issubclass(kind, ImgDedupError) else None


def _local_problem(error: Exception) -> StorageError | None:
    """What this machine's or a worker's file system said; what a store's library says has a number of its own."""
    text = str(error)
    if isinstance(error, OSError) and error.errno is not None:
        number, said = error.errno, f"{error.strerror}: '{error.filename}'" if error.filename else str(error.strerror)
    elif found := _LOCAL.findall(text):
        number, said = int(found[-1][0]), found[-1][1]
    elif found := re.findall(rf"[^\n]*(?:{_FULL}|{_READ_ONLY})[^\n]*", text):
        number, said = (errno.ENOSPC if re.search(_FULL, found[-1]) else errno.EROFS), found[-1].strip()
    else:
        return None
    said = said.strip(": ")[:300].rstrip(".")
    if number in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"A disk is full: {said}. Free space where work_dir, output.path and Spark's own files are "
            "(spark.local.dir, TMPDIR), and run again: finished steps are skipped."
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(f"{said}. Check who may read and write there, or name another place.")
    if number in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP):
        return StorageError(f"{said}. Name another place, or take away what stands in the way.")
    return None


def _spark_problem(text: str) -> ImgDedupError | None:
    return next((problem for tell in _SPARK if (problem := tell(text)) is not None), None)


def _dead_worker(text: str) -> SparkError | None:
    if not re.search(r"Python worker (?:exited|crashed|failed)|Crash Caught by faulthandler", text):
        return None
    return SparkError(
        "A Python worker of Spark died, twice or more. Most often the system took its memory away: lower "
        "embed.batch_size, embed.decode_threads or the cores of an executor (spark.master local[N]), or give it more "
        "memory (spark.executor.memoryOverhead)."
    )


def _unreadable_file(text: str) -> StorageError | None:
    """A file of a table that a power loss, or somebody else, has damaged."""
    if not _DAMAGED.search(text):
        return None
    found = _FILE.search(text)
    place = re.sub(r"^file:/+", "/", found[0]) if found else "a file that Spark was to read"
    return StorageError(
        f"{place} is damaged: cut off, or changed since it was written. If it lies in work_dir, run the step that "
        "writes its table again (spark-imgdedup <step> --force --config …), or all that is needed (spark-imgdedup "
        "run --config …); if it is input, copy it again from where it came from."
    )


def _dead_jvm(error: Exception) -> SparkError | None:
    """Nobody answers any more at the other end of Py4J, or of a socket that PySpark fetches rows from."""
    is_cut = isinstance(error, ConnectionError | EOFError) and not _SPARKS_OWN.isdisjoint(_packages(error))
    if not is_cut and not _NO_ANSWER.search(str(error)):
        return None
    return SparkError(
        "Spark's JVM has died. Most often the system took its memory away, or somebody ended it: see the system's log, "
        "and give the machine more memory, or spark.driver.memory less. Run again: finished steps are skipped."
    )


def _packages(error: BaseException) -> set[str]:
    """The packages that an error came through."""
    frames = walk_tb(error.__traceback__)
    return {str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame, _ in frames}


def _no_memory(text: str) -> SparkError | None:
    if "java.lang.OutOfMemoryError" not in text:
        return None
    return SparkError(
        "Spark's JVM ran out of memory. Give it more: spark.driver.memory (which is all of it in local mode) and "
        "spark.executor.memory."
    )


def _bad_master(text: str) -> ConfigError | None:
    found = re.search(r"Could not parse Master URL: '?([^\s']+)|All masters are unresponsive", text)
    if found is None:
        return None
    said = f"'{found[1]}' is no master" if found[1] else "no master answers"
    return ConfigError(f"spark.master: {said}. Name local[N], spark://host:port, yarn or k8s://…, one that is running.")


def _no_gateway(text: str) -> ConfigError | None:
    if "JAVA_GATEWAY_EXITED" not in text:
        return None
    return ConfigError(
        "Spark's JVM ended while it started; what it said is printed above. Correct what it names: a spark.* setting, "
        "a package that cannot be fetched (spark.jars.packages), or Java itself."
    )


def _no_class(text: str) -> SparkError | None:
    source, name = _NO_SOURCE.search(text), _CLASS.search(text)
    if source is not None:
        return SparkError(
            f"This Spark session has no format '{source[1]}'. Start Spark with its package (spark.jars.packages, and "
            "for Delta its extension and catalog), or set table.format and output.format to what it has."
        )
    if name is None:
        return None
    return SparkError(
        f"Spark's JVM has no class {name[1]}. Add the jar that holds it (spark.jars.packages, spark.jars), or correct "
        "the setting that names it."
    )


_SPARK: tuple[Callable[[str], ImgDedupError | None], ...] = (
    *(_dead_worker, _no_memory, _bad_master, _no_gateway, _no_class, _unreadable_file),
)


def in_one_line(error: Exception) -> str:
    """What an error says; of a traceback that came back from a worker, its last line."""
    if isinstance(error, ImgDedupError):
        return str(error)
    last = re.findall(r"^[\w.]*(?:Error|Exception): .+$", str(error), re.MULTILINE)
    first = (str(error).splitlines() or [""])[0]
    return (last[-1] if last else f"{type(error).__name__}: {first}")[:MAX_CHARACTERS]
