"""`python -m spark_imgdedup`."""

from spark_imgdedup.cli import main

if __name__ == "__main__":
    main()
