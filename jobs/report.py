"""Print what the steps so far have counted, and write report.json and index.html, a page to look at.

reads   the records of the steps in <work_dir>/_steps, their tables, and the images that the page shows
writes  <work_dir>/report/report.json, <work_dir>/report/index.html

    spark-submit jobs/report.py --config conf/local.yaml --set work_dir=work
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("report")
