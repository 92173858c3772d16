"""Torch models on a GPU: pictures are copied as they were decoded, resized there, encoded while others are decoded.

`encoder` is the way of a batch: `transfer` brings its pictures, packed by `staging` or decoded by `jpegs`, `resize`
fits them, `fixed_shape` runs the model, and `halves` takes fewer at a time where memory does not suffice. `transforms`
reads what the CPU would do. All of it runs on a CPU too, where nothing overlaps.
"""
