"""Arrays in, arrays out: the arithmetic, on NumPy or CuPy, where neither Spark nor torch need exist."""
