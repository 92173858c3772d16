"""The page of a run: what it found, in numbers and pictures, in one file that asks for nothing else."""
