"""Print what the steps so far have counted, and write report.json.

reads   the records of the steps in <work_dir>/_steps
writes  <work_dir>/report/report.json

    spark-submit jobs/report.py --config conf/local.yaml --set work_dir=work
"""

from spark_imgdedup.cli import run_job

if __name__ == "__main__":
    run_job("report")
