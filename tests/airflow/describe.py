"""Run by Airflow's Python: a folder of DAGs as JSON, templates filled in for a day; on stderr, as stdout has a log."""

import json
import sys

from airflow.dag_processing.dagbag import DagBag

DAY = "2026-01-06"


def filled(dag, task):
    """The fields that are templates, apart from those that come from another task, which are there in a run only."""
    context = {"params": dag.params.dump(), "ds": DAY, "ds_nodash": DAY.replace("-", "")}
    fields = {name: getattr(task, name, None) for name in task.template_fields}
    plain = {name: value for name, value in fields.items() if isinstance(value, str | dict)}
    return {name: task.render_template(value, context) for name, value in plain.items()}


def described(dag, task):
    return {
        "after": sorted(task.upstream_task_ids),
        "retries": task.retries,
        "backoff": bool(task.retry_exponential_backoff),
        "fields": filled(dag, task),
    }


if __name__ == "__main__":
    bag = DagBag(sys.argv[1])
    dags = {
        dag.dag_id: {
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "params": {name: dag.params.get_param(name).description for name in dag.params},
            "tasks": {task.task_id: described(dag, task) for task in dag.tasks},
        }
        for dag in bag.dags.values()
    }
    warnings = [str(warning) for found in bag.captured_warnings.values() for warning in found]
    json.dump({"errors": bag.import_errors, "warnings": warnings, "dags": dags}, sys.stderr)
