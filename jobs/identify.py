"""Name the images that repeat another one, and for each of them one that stays.

reads   <work_dir>/similarities, <work_dir>/groups; <work_dir>/copies and <work_dir>/near_hashes, where detect takes
        part; the ids of remove.never, identify.decisions
writes  <work_dir>/duplicates

    spark-submit jobs/identify.py --config conf/local.yaml --set identify.eps=0.05
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("identify")
