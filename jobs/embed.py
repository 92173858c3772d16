"""Decode every image of the input and give it an embedding.

reads   input.path (tars, loose images or a table)
writes  <work_dir>/embeddings

    spark-submit jobs/embed.py --config conf/local.yaml --set embed.batch_size=64
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("embed")
