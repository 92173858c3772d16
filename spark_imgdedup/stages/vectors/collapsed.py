"""embeddings, copies -> which rows of which file exact copies are, and how many each other row stands for.

Told by file and row: tasks that read vectors from their files leave copies out by themselves. Through a join by id all
vectors would be shuffled.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.files import storage, writing
from spark_imgdedup.stages.detect import told_of_copies
from spark_imgdedup.stages.tasks import map_batches

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# A row of a file that is a copy, or that copies are collapsed to.
_MARK = np.dtype([("row", "<i8"), ("dup_count", "<i8")])
# The dup_count of a copy.
GONE = -1

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Marks:
    """Where the marks of one file of embeddings are: `n` of them at `start` in the file `url`; by default none."""

    url: str = ""
    start: int = 0
    n: int = 0

    def read(self, options: storage.Options) -> npt.NDArray[np.void]:
        """The marks, in the order of rows."""
        if not self.n:
            return np.zeros(0, _MARK)
        with storage.open_random(self.url, options) as file:
            file.seek(self.start * _MARK.itemsize)
            return np.frombuffer(file.read(self.n * _MARK.itemsize), _MARK)


# By the name of a file of embeddings; one that is not there has no mark.
MarksByFile = Mapping[str, Marks]


def mark_copies(embeddings: DataFrame, copies: DataFrame, folder: str, options: storage.Options) -> MarksByFile:
    """Write the marks of all files below `folder`; one Spark job.

    Args:
        embeddings: A table as Spark reads it from Parquet files, each of another name: image_id.
        copies: What `group_exact` gives.
        folder: A URL that every worker reaches.
        options: To reach it.
    """
    from pyspark.sql import functions as F

    rows = embeddings.selectExpr("image_id", "_metadata.file_name AS file", "_metadata.row_index AS row")
    dup_count = F.when(F.col("_goes"), F.lit(GONE)).otherwise(F.col("dup_count")).cast("bigint")
    marked = rows.join(told_of_copies(copies), "image_id").select("file", "row", dup_count.alias("dup_count"))

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held = [batch for batch in batches if batch.num_rows]
        if not held:
            return
        table = pa.Table.from_batches(held)
        marks = np.empty(len(table), _MARK)
        marks["row"], marks["dup_count"] = table["row"].to_numpy(), table["dup_count"].to_numpy()
        url = storage.join(folder, f"{uuid.uuid4().hex}.marks")  # a task that Spark runs twice writes two
        writing.write_bytes(url, marks.tobytes(), options)
        files = table["file"].combine_chunks().dictionary_encode()
        starts = np.flatnonzero(np.diff(files.indices.to_numpy(), prepend=-1))
        counts = np.diff(starts, append=len(table))
        yield pa.RecordBatch.from_pydict(
            {"file": files.dictionary, "url": [url] * len(starts), "start": pa.array(starts), "n": pa.array(counts)}
        )

    writing.make_folder(folder, options)
    by_file = marked.repartition("file").sortWithinPartitions("file", "row")
    found = map_batches(by_file, write, "file string, url string, start bigint, n bigint").collect()
    return {row["file"]: Marks(row["url"], row["start"], row["n"]) for row in found}


def counts_of(marks: npt.NDArray[np.void], first: int, n: int) -> Counts:
    """The dup_count of the n rows of a file from `first` on, GONE for copies, by its marks."""
    low, high = np.searchsorted(marks["row"], [first, first + n])
    counts = np.zeros(n, np.int64)
    counts[marks["row"][low:high] - first] = marks["dup_count"][low:high]
    return counts
