// Command launcher starts, updates and ends taskcluster-proxy as generic-worker of Taskcluster 106
// does, by the same steps in the same order: workers/generic-worker/tcproxy/tcproxy.go and
// taskcluster_proxy_feature.go there. What it is not: a worker; it claims nothing and runs no task.
//
// It reads one order as JSON from each line of stdin and answers each with a line of JSON on
// descriptor 3. Its proxies have its stdout and stderr.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

type credentials struct {
	ClientID    string `json:"clientId"`
	AccessToken string `json:"accessToken"`
	Certificate string `json:"certificate"`
}

type order struct {
	Do             string      `json:"do"`
	Slot           int         `json:"slot"`
	Executable     string      `json:"executable"`
	IPAddress      string      `json:"ipAddress"`
	Port           int         `json:"port"`
	RootURL        string      `json:"rootUrl"`
	AllowedUser    string      `json:"allowedUser"`
	AllowedNetwork string      `json:"allowedNetwork"`
	Scopes         []string    `json:"scopes"`
	Credentials    credentials `json:"credentials"`
}

type answer struct {
	Pid    int    `json:"pid,omitempty"`
	Status int    `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
}

type proxy struct {
	command *exec.Cmd
	host    string
	port    int
}

// The descriptor of the answers.
const answers = 3

func main() {
	// The proxies shall not have it.
	syscall.CloseOnExec(answers)
	orders := json.NewDecoder(os.Stdin)
	out := json.NewEncoder(os.NewFile(answers, "answers"))
	slots := map[int]*proxy{}
	for {
		var todo order
		if err := orders.Decode(&todo); err != nil {
			return
		}
		if err := out.Encode(obey(todo, slots)); err != nil {
			return
		}
	}
}

func obey(todo order, slots map[int]*proxy) answer {
	switch todo.Do {
	case "start":
		started, err := start(todo)
		if err != nil {
			return answer{Error: err.Error()}
		}
		slots[todo.Slot] = started
		return answer{Pid: started.command.Process.Pid}
	case "update":
		status, err := update(slots[todo.Slot], todo.Credentials)
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Status: status}
	case "terminate":
		command := slots[todo.Slot].command
		delete(slots, todo.Slot)
		if err := command.Process.Kill(); err != nil {
			return answer{Error: err.Error()}
		}
		_, _ = command.Process.Wait()
		return answer{}
	default:
		panic(fmt.Sprintf("told to crash: %q", todo.Do))
	}
}

func start(todo order) (*proxy, error) {
	args := []string{
		"--port", strconv.Itoa(todo.Port),
		"--root-url", todo.RootURL,
		"--ip-address", todo.IPAddress,
	}
	if todo.AllowedUser != "" {
		args = append(args, "--allowed-user", todo.AllowedUser)
	}
	if todo.AllowedNetwork != "" {
		args = append(args, "--allowed-network", todo.AllowedNetwork)
	}
	args = append(args, todo.Scopes...)
	command := exec.Command(todo.Executable, args...)
	command.Env = append(os.Environ(),
		"TASKCLUSTER_CLIENT_ID="+todo.Credentials.ClientID,
		"TASKCLUSTER_ACCESS_TOKEN="+todo.Credentials.AccessToken,
		"TASKCLUSTER_CERTIFICATE="+todo.Credentials.Certificate,
	)
	command.Stdout = os.Stdout
	command.Stderr = os.Stderr
	if err := startOnThreadThatEnds(command); err != nil {
		return nil, err
	}
	host := todo.IPAddress
	if todo.AllowedNetwork != "" {
		host = "127.0.0.1"
	}
	started := &proxy{command, host, todo.Port}
	if err := started.waitUntilActive(); err != nil {
		_ = command.Process.Kill()
		_, _ = command.Process.Wait()
		return nil, err
	}
	return started, nil
}

// A worker's goroutine starts the proxy on whichever thread it has, and Go may end that thread while
// the worker goes on. Here it always does: a goroutine that ends locked takes its thread with it.
func startOnThreadThatEnds(command *exec.Cmd) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- command.Start()
	}()
	return <-result
}

func (started *proxy) waitUntilActive() error {
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		connection, err := net.DialTimeout("tcp", started.address(), 60*time.Second)
		if err == nil {
			_ = connection.Close()
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("timeout waiting for taskcluster-proxy %v to be active", started.address())
}

func (started *proxy) address() string {
	return net.JoinHostPort(started.host, strconv.Itoa(started.port))
}

func update(started *proxy, next credentials) (int, error) {
	body, err := json.Marshal(&next)
	if err != nil {
		return 0, err
	}
	url := "http://" + started.address() + "/credentials"
	request, err := http.NewRequest(http.MethodPut, url, bytes.NewBuffer(body))
	if err != nil {
		return 0, err
	}
	client := &http.Client{}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}
