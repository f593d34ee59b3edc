"""The Python client, synchronous or (with the argument `aio`) asynchronous: see ../README.md."""

import asyncio
import json
import os
import sys

import taskcluster
import taskcluster.aio


def options():
    proxy_url = os.environ.get("TASKCLUSTER_PROXY_URL")
    if proxy_url:
        return {"rootUrl": proxy_url}
    return taskcluster.optionsFromEnvironment()


def main(plan):
    queue = taskcluster.Queue(options())
    secrets = taskcluster.Secrets(options())
    auth = taskcluster.Auth(options())

    created = queue.createTask(plan["taskId"], plan["task"])["status"]["taskId"]
    metadata = queue.task(plan["taskId"])["metadata"]
    payload = {"secret": plan["secret"], "expires": plan["task"]["deadline"]}
    secrets.set(plan["secretName"], payload)
    secret = secrets.get(plan["secretName"])["secret"]
    secrets.remove(plan["secretName"])
    scopes = auth.currentScopes()["scopes"]
    try:
        secrets.get(plan["forbiddenName"])
        refused = 200
    except taskcluster.exceptions.TaskclusterRestFailure as error:
        refused = error.status_code
    history = actions(auth.getEntityHistory("secret", plan["secretName"]))
    return created, metadata, secret, scopes, refused, history, work(queue, plan)


def work(queue, plan):
    task, task_id = plan["task"], plan["taskId"]
    provisioner_id, worker_type = task["provisionerId"], task["workerType"]
    task_queue_id = provisioner_id + "/" + worker_type
    pending = queue.listPendingTasks(task_queue_id)
    queue.claimWork(task_queue_id, dict(plan["worker"], tasks=1))
    claimed = queue.listClaimedTasks(task_queue_id)
    counts = queue.taskQueueCounts(task_queue_id)
    workers = queue.listWorkers(provisioner_id, worker_type)
    worker_types = queue.listWorkerTypes(provisioner_id)
    task_queues = queue.listTaskQueues()
    provisioners = queue.listProvisioners()
    try:
        queue.finishArtifact(task_id, "0", "public/none", {"uploadId": task_id})
        finished = 204
    except taskcluster.exceptions.TaskclusterRestFailure as error:
        finished = error.status_code
    return told(
        pending, claimed, counts, workers, worker_types, task_queues, provisioners, finished
    )


def told(pending, claimed, counts, workers, worker_types, task_queues, provisioners, finished):
    """What `work` and `work_aio` learn, for the test."""
    return {
        "pending": [each["taskId"] for each in pending["tasks"]],
        "claimed": [each["taskId"] for each in claimed["tasks"]],
        "counts": [counts["pendingTasks"], counts["claimedTasks"]],
        "workers": [each["workerId"] for each in workers["workers"]],
        "workerTypes": [each["workerType"] for each in worker_types["workerTypes"]],
        "taskQueues": [each["taskQueueId"] for each in task_queues["taskQueues"]],
        "provisioners": [each["provisionerId"] for each in provisioners["provisioners"]],
        "finished": finished,
    }


async def main_aio(plan):
    async with taskcluster.aio.createSession() as session:
        queue = taskcluster.aio.Queue(options(), session=session)
        secrets = taskcluster.aio.Secrets(options(), session=session)
        auth = taskcluster.aio.Auth(options(), session=session)

        created = (await queue.createTask(plan["taskId"], plan["task"]))["status"]["taskId"]
        metadata = (await queue.task(plan["taskId"]))["metadata"]
        payload = {"secret": plan["secret"], "expires": plan["task"]["deadline"]}
        await secrets.set(plan["secretName"], payload)
        secret = (await secrets.get(plan["secretName"]))["secret"]
        await secrets.remove(plan["secretName"])
        scopes = (await auth.currentScopes())["scopes"]
        try:
            await secrets.get(plan["forbiddenName"])
            refused = 200
        except taskcluster.exceptions.TaskclusterRestFailure as error:
            refused = error.status_code
        history = actions(await auth.getEntityHistory("secret", plan["secretName"]))
        done = await work_aio(queue, plan)
        return created, metadata, secret, scopes, refused, history, done


async def work_aio(queue, plan):
    task, task_id = plan["task"], plan["taskId"]
    provisioner_id, worker_type = task["provisionerId"], task["workerType"]
    task_queue_id = provisioner_id + "/" + worker_type
    pending = await queue.listPendingTasks(task_queue_id)
    await queue.claimWork(task_queue_id, dict(plan["worker"], tasks=1))
    claimed = await queue.listClaimedTasks(task_queue_id)
    counts = await queue.taskQueueCounts(task_queue_id)
    workers = await queue.listWorkers(provisioner_id, worker_type)
    worker_types = await queue.listWorkerTypes(provisioner_id)
    task_queues = await queue.listTaskQueues()
    provisioners = await queue.listProvisioners()
    try:
        await queue.finishArtifact(task_id, "0", "public/none", {"uploadId": task_id})
        finished = 204
    except taskcluster.exceptions.TaskclusterRestFailure as error:
        finished = error.status_code
    return told(
        pending, claimed, counts, workers, worker_types, task_queues, provisioners, finished
    )


def actions(history):
    return [each["actionType"] for each in history["auditHistory"]]


if __name__ == "__main__":
    plan = json.load(sys.stdin)
    learnt = asyncio.run(main_aio(plan)) if sys.argv[1:] == ["aio"] else main(plan)
    names = ("created", "metadata", "secret", "scopes", "refused", "history", "work")
    print(json.dumps(dict(zip(names, learnt))))
