"""Copy the dataset without what identify, a filter or a list of ids names.

With `remove.ids_path` it works alone, on images, video clips or tables that nothing has embedded.

reads   input.path; <work_dir>/duplicates and the scores of the filters, or remove.ids_path; remove.never
writes  <work_dir>/removed, output.path

    spark-submit jobs/remove.py --config conf/local.yaml --set remove.unreadable=drop
    spark-submit jobs/remove.py --config conf/local.yaml --set remove.ids_path=unwanted --set remove.id_field=id
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("remove")
