"""Copy the dataset without what identify, a filter or a list of ids names.

reads   input.path; <work_dir>/duplicates, or remove.ids_path
writes  output.path

    spark-submit jobs/remove.py --config conf/local.yaml --set remove.unreadable=drop
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("remove")
