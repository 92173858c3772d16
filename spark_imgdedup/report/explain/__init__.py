"""Why an image went or stayed, and why two images are a pair or none: the checks, their numbers, the verdict."""
