"""What a run needs around its steps: a session, tables, records, progress, and writing the dataset."""
