"""Score every embedding, and mark the images that a filter rejects.

reads   <work_dir>/embeddings, or cluster.embeddings_path
writes  <work_dir>/scored

    spark-submit jobs/score.py --config filtered.yaml --set score.min_aesthetic_score=5.5
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("score")
