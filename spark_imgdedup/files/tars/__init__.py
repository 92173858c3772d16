"""Tars as they are read: members, samples, shards. No Spark."""
