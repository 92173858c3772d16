"""Files anywhere fsspec reaches: storage, tars, arrays, and publishing them. No Spark."""
