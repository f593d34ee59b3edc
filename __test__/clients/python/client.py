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
    return created, metadata, secret, scopes, refused


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
        return created, metadata, secret, scopes, refused


if __name__ == "__main__":
    plan = json.load(sys.stdin)
    learnt = asyncio.run(main_aio(plan)) if sys.argv[1:] == ["aio"] else main(plan)
    names = ("created", "metadata", "secret", "scopes", "refused")
    print(json.dumps(dict(zip(names, learnt))))
