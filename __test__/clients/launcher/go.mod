module taskcluster-proxy/test-launcher

go 1.24.2
