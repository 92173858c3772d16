"""Find exact copies by digests, and perceptual hashes that are near each other, without a model.

reads   <work_dir>/embeddings, or input.path where those have no hashes
writes  <work_dir>/copies, <work_dir>/near_hashes; <work_dir>/hashes on the way

    spark-submit jobs/detect.py --config conf/local.yaml --set detect.method=exact
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("detect")
