"""Call an image a duplicate when it resembles a better-ranked one closely enough.

reads   <work_dir>/similarities; <work_dir>/copies and <work_dir>/near_hashes, where detect takes part
writes  <work_dir>/duplicates

    spark-submit jobs/identify.py --config conf/local.yaml --set identify.eps=0.05
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("identify")
