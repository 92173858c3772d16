"""Whose a folder is, and what may be written where. No Spark."""
