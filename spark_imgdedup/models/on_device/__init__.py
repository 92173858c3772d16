"""Torch models on a GPU: pictures are copied as they were decoded, resized there, and encoded while others are decoded.

`encoder` is the way of a batch: `staging` packs its pictures, `resize` fits them, `fixed_shape` runs the model, and
`halves` takes fewer at a time where memory does not suffice. All of it runs on a CPU too, where nothing overlaps.
"""
