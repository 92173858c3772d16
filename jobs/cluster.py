"""Group similar images, so that only images of one group need comparing.

reads   <work_dir>/embeddings, or cluster.embeddings_path
writes  <work_dir>/centroids, <work_dir>/blocks, <work_dir>/clusters

    spark-submit jobs/cluster.py --config conf/local.yaml --set cluster.n_clusters=1000
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("cluster")
