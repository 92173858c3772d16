"""A table in parts: which files it has, of which sources each is, and which are to be written. No Spark."""
