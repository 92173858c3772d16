"""DataFrame in, DataFrame out: one module for each step."""
