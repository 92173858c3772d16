"""Find the repeats among vectors of your own (of video clips, of audio, …), and write a dataset without them.

reads   cluster.embeddings_path; input.path, where it is set
writes  <work_dir>/centroids, clusters, similarities, duplicates; output.path, where input.path is set

    spark-submit jobs/dedup_embeddings.py --config conf/clips.yaml --set identify.eps=0.05
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("dedup-embeddings")
