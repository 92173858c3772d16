"""Vectors of any table: where they lie, which files a task may read, and how they become a column."""
