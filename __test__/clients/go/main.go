// The Go client: see ../README.md.
package main

import (
	"encoding/json"
	"errors"
	"log"
	"os"

	tcclient "github.com/taskcluster/taskcluster/v83/clients/client-go"
	"github.com/taskcluster/taskcluster/v83/clients/client-go/tcauth"
	"github.com/taskcluster/taskcluster/v83/clients/client-go/tcqueue"
	"github.com/taskcluster/taskcluster/v83/clients/client-go/tcsecrets"
)

type plan struct {
	TaskID        string                        `json:"taskId"`
	Task          tcqueue.TaskDefinitionRequest `json:"task"`
	SecretName    string                        `json:"secretName"`
	Secret        json.RawMessage               `json:"secret"`
	ForbiddenName string                        `json:"forbiddenName"`
	Worker        struct {
		WorkerGroup string `json:"workerGroup"`
		WorkerID    string `json:"workerId"`
	} `json:"worker"`
}

type learnt struct {
	Created  string               `json:"created"`
	Metadata tcqueue.TaskMetadata `json:"metadata"`
	Secret   json.RawMessage      `json:"secret"`
	Scopes   []string             `json:"scopes"`
	Refused  int                  `json:"refused"`
	History  []string             `json:"history"`
	Work     work                 `json:"work"`
}

type work struct {
	Pending      []string `json:"pending"`
	Claimed      []string `json:"claimed"`
	Counts       [2]int64 `json:"counts"`
	Workers      []string `json:"workers"`
	WorkerTypes  []string `json:"workerTypes"`
	TaskQueues   []string `json:"taskQueues"`
	Provisioners []string `json:"provisioners"`
	Finished     int      `json:"finished"`
}

func main() {
	log.SetFlags(0)
	var todo plan
	must(json.NewDecoder(os.Stdin).Decode(&todo))
	queue := tcqueue.NewFromEnv()
	secrets := tcsecrets.NewFromEnv()
	auth := tcauth.NewFromEnv()

	status, err := queue.CreateTask(todo.TaskID, &todo.Task)
	must(err)
	task, err := queue.Task(todo.TaskID)
	must(err)
	must(secrets.Set(todo.SecretName, &tcsecrets.Secret{
		Secret:  todo.Secret,
		Expires: todo.Task.Deadline,
	}))
	secret, err := secrets.Get(todo.SecretName)
	must(err)
	must(secrets.Remove(todo.SecretName))
	scopes, err := auth.CurrentScopes()
	must(err)
	_, err = secrets.Get(todo.ForbiddenName)
	refused := statusCode(err)
	history, err := auth.GetEntityHistory("secret", todo.SecretName, "", "")
	must(err)

	must(json.NewEncoder(os.Stdout).Encode(learnt{
		Created:  status.Status.TaskID,
		Metadata: task.Metadata,
		Secret:   secret.Secret,
		Scopes:   scopes.Scopes,
		Refused:  refused,
		History:  actions(history.AuditHistory),
		Work:     doWork(queue, todo),
	}))
}

func actions(history []tcauth.Var) (types []string) {
	for _, entry := range history {
		types = append(types, entry.ActionType)
	}
	return types
}

func doWork(queue *tcqueue.Queue, todo plan) (found work) {
	provisionerID, workerType := todo.Task.ProvisionerID, todo.Task.WorkerType
	taskQueueID := provisionerID + "/" + workerType
	pending, err := queue.ListPendingTasks(taskQueueID, "", "")
	must(err)
	for _, task := range pending.Tasks {
		found.Pending = append(found.Pending, task.TaskID)
	}
	_, err = queue.ClaimWork(taskQueueID, &tcqueue.ClaimWorkRequest{
		Tasks:       1,
		WorkerGroup: todo.Worker.WorkerGroup,
		WorkerID:    todo.Worker.WorkerID,
	})
	must(err)
	claimed, err := queue.ListClaimedTasks(taskQueueID, "", "")
	must(err)
	for _, task := range claimed.Tasks {
		found.Claimed = append(found.Claimed, task.TaskID)
	}
	counts, err := queue.TaskQueueCounts(taskQueueID)
	must(err)
	found.Counts = [2]int64{counts.PendingTasks, counts.ClaimedTasks}
	workers, err := queue.ListWorkers(provisionerID, workerType, "", "", "")
	must(err)
	for _, worker := range workers.Workers {
		found.Workers = append(found.Workers, worker.WorkerID)
	}
	workerTypes, err := queue.ListWorkerTypes(provisionerID, "", "")
	must(err)
	for _, each := range workerTypes.WorkerTypes {
		found.WorkerTypes = append(found.WorkerTypes, each.WorkerType)
	}
	taskQueues, err := queue.ListTaskQueues("", "")
	must(err)
	for _, each := range taskQueues.TaskQueues {
		found.TaskQueues = append(found.TaskQueues, each.TaskQueueID)
	}
	provisioners, err := queue.ListProvisioners("", "")
	must(err)
	for _, each := range provisioners.Provisioners {
		found.Provisioners = append(found.Provisioners, each.ProvisionerID)
	}
	err = queue.FinishArtifact(todo.TaskID, "0", "public/none", &tcqueue.FinishArtifactRequest{
		UploadID: todo.TaskID,
	})
	found.Finished = statusCode(err)
	return found
}

func statusCode(err error) int {
	var failed *tcclient.APICallException
	if errors.As(err, &failed) && failed.CallSummary.HTTPResponse != nil {
		return failed.CallSummary.HTTPResponse.StatusCode
	}
	must(err)
	return 200
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
