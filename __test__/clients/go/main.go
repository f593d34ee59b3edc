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
}

type learnt struct {
	Created  string               `json:"created"`
	Metadata tcqueue.TaskMetadata `json:"metadata"`
	Secret   json.RawMessage      `json:"secret"`
	Scopes   []string             `json:"scopes"`
	Refused  int                  `json:"refused"`
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

	must(json.NewEncoder(os.Stdout).Encode(learnt{
		Created:  status.Status.TaskID,
		Metadata: task.Metadata,
		Secret:   secret.Secret,
		Scopes:   scopes.Scopes,
		Refused:  statusCode(err),
	}))
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
