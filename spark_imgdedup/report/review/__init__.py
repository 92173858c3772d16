"""Pairs that people judge blind, and what their decisions say of the run."""
