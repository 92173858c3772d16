"""Find the better-ranked image that each image resembles most.

reads   <work_dir>/clusters, <work_dir>/blocks
writes  <work_dir>/similarities, <work_dir>/links

    spark-submit jobs/pairwise.py --config conf/local.yaml --set pairwise.which_to_keep=easy
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("pairwise")
