"""Tars as they are written: the samples that stay, byte for byte. No Spark."""
