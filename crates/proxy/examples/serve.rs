//! The core alone, without Node, for profilers: `perf record`, `valgrind --tool=callgrind`,
//! `strace -c`.
//!
//! ```sh
//! cargo run --profile profiling -p taskcluster-proxy-core --example serve -- 8080 http://127.0.0.1:9000
//! ```
//!
//! It signs with made-up credentials, takes no update of them and runs until it is killed. What it
//! is not: the proxy. It checks no user, and has no options.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use taskcluster_proxy_core::{
    Credentials, LogFormat, LogLevel, Options, Proxy, Retry, Update, Validator,
};
use tokio::sync::oneshot;

/// Accepts no credentials.
struct NoUpdates;

impl Validator for NoUpdates {
    fn validate(&self, _body: Bytes, verdict: oneshot::Sender<Result<Credentials, String>>) {
        let _ = verdict.send(Err("this program takes no credentials".to_owned()));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(root_url)) = (arguments.next(), arguments.next()) else {
        return Err("give a port and the root URL of a deployment".into());
    };
    let proxy = Proxy::start(&options(port.parse()?, root_url)?, Arc::new(NoUpdates))?;
    println!("Listening on {:?}", proxy.addresses());
    loop {
        std::thread::park();
    }
}

fn options(port: u16, root_url: String) -> Result<Options, Box<dyn std::error::Error>> {
    Ok(Options {
        root_url,
        credentials: Credentials::new("task-client/profiled", "no-secret", None)?,
        authorized_scopes: None,
        ip_addresses: vec![Ipv4Addr::LOCALHOST.into()],
        port,
        allowed_user: None,
        allowed_networks: Vec::new(),
        allow_cross_site: false,
        hosts: Vec::new(),
        upstream_hosts: Vec::new(),
        audit: None,
        retry: Retry {
            first: Duration::from_millis(500),
            cap: Duration::from_secs(60),
            limit: Duration::from_secs(900),
        },
        replay_limit: 10 << 20,
        replay_total: 64 << 20,
        header_timeout: Duration::from_secs(30),
        response_timeout: Duration::from_secs(600),
        upstream_http2: false,
        warned: false,
        give_back_memory: || {},
        update: Update::Drain(Duration::from_secs(5)),
        log_format: LogFormat::Text,
        log_level: LogLevel::Info,
        version: "0.0.0".to_owned(),
        revision: "profiled".to_owned(),
    })
}
