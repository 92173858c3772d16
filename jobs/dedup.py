"""Every step, in the order of the data: shards in, the dataset without duplicates out.

reads   input.path (tars, loose images or a table)
writes  the tables of every step in <work_dir>, and output.path

    spark-submit jobs/dedup.py --config conf/local.yaml --set input.path=examples/shards --set output.path=deduplicated
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("run")
