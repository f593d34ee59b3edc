"""taskgraph's helpers, as its users' scripts call them in a task: see ../README.md."""

import json
import sys

import requests
from taskgraph.util import taskcluster


def main(plan):
    task_id = plan["taskId"]
    url = taskcluster.get_artifact_url(task_id, plan["json"], use_proxy=plan["viaProxy"])
    return {
        "definition": taskcluster.get_task_definition(task_id)["metadata"],
        "ancestors": taskcluster.get_ancestors(plan["dependentTaskId"]),
        "incomplete": taskcluster.list_task_group_incomplete_tasks(task_id),
        "state": taskcluster.state_task(task_id),
        "states": {
            each: status["state"]
            for each, status in taskcluster.status_task_batched(plan["taskIds"]).items()
        },
        "artifacts": [artifact["name"] for artifact in taskcluster.list_artifacts(task_id)],
        "json": taskcluster.get_artifact(task_id, plan["json"]),
        "yaml": taskcluster.get_artifact(task_id, plan["yaml"]),
        "bytes": list(taskcluster.get_artifact(task_id, plan["bytes"]).read()),
        "url": requests.get(url).status_code,
        "scopes": taskcluster.get_current_scopes(),
        "rerun": after(taskcluster.rerun_task, task_id),
        "canceled": after(taskcluster.cancel_task, task_id),
    }


def after(change, task_id):
    change(task_id)
    return taskcluster.state_task(task_id)


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
