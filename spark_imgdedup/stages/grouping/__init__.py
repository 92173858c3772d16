"""similarities -> duplicates: what hangs together, gathered, and which of it stays."""
