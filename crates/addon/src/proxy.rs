//! Starting, updating and stopping a proxy for TypeScript. What it does is in `crates/proxy`.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use napi::bindgen_prelude::{Buffer, Object};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Error, JsError, Status};
use napi_derive::napi;
use taskcluster_proxy_core as core;
use tokio::sync::oneshot;

use crate::hawk::{Coded, NativeCredentials};

/// See `NativeOptions` in `ts/native.ts`, which also describes the types below.
#[napi(object)]
pub struct NativeOptions {
    pub root_url: String,
    pub credentials: NativeCredentials,
    #[napi(ts_type = "string[] | undefined")]
    pub authorized_scopes: Option<Vec<String>>,
    pub ip_addresses: Vec<String>,
    pub port: u16,
    #[napi(ts_type = "string | undefined")]
    pub allowed_user: Option<String>,
    pub allowed_networks: Vec<String>,
    pub allow_cross_site: bool,
    pub hosts: Vec<String>,
    pub upstream_hosts: Vec<String>,
    pub retry_first: i64,
    pub retry_cap: i64,
    pub retry_for: i64,
    pub replay_limit: i64,
    pub replay_total: i64,
    pub header_timeout: i64,
    pub response_timeout: i64,
    pub upstream_http2: bool,
    pub warned: bool,
    #[napi(ts_type = "number | undefined")]
    pub drain_timeout: Option<i64>,
    #[napi(ts_type = "NativeAudit | undefined")]
    pub audit: Option<NativeAudit>,
    pub log_format: String,
    pub log_level: String,
}

#[napi(object)]
pub struct NativeAudit {
    pub path: String,
    pub required: bool,
}

impl NativeOptions {
    fn check(self) -> Result<core::Options, Coded> {
        Ok(core::Options {
            root_url: self.root_url,
            credentials: self.credentials.check()?,
            authorized_scopes: self.authorized_scopes,
            ip_addresses: addresses(&self.ip_addresses)?,
            port: self.port,
            allowed_user: self.allowed_user,
            allowed_networks: self.allowed_networks,
            allow_cross_site: self.allow_cross_site,
            hosts: self.hosts,
            upstream_hosts: self.upstream_hosts,
            retry: core::Retry {
                first: milliseconds(self.retry_first),
                cap: milliseconds(self.retry_cap),
                limit: milliseconds(self.retry_for),
            },
            replay_limit: unsigned(self.replay_limit),
            replay_total: unsigned(self.replay_total),
            header_timeout: milliseconds(self.header_timeout),
            response_timeout: milliseconds(self.response_timeout),
            upstream_http2: self.upstream_http2,
            warned: self.warned,
            give_back_memory: crate::memory::give_back,
            update: self
                .drain_timeout
                .map_or(core::Update::Immediate, |timeout| {
                    core::Update::Drain(milliseconds(timeout))
                }),
            audit: self.audit.map(|audit| core::AuditOptions {
                path: audit.path.into(),
                required: audit.required,
            }),
            log_format: self.log_format.parse().map_err(options_error)?,
            log_level: self.log_level.parse().map_err(options_error)?,
            version: crate::version().to_owned(),
            revision: crate::revision().to_owned(),
        })
    }
}

fn addresses(texts: &[String]) -> Result<Vec<IpAddr>, Coded> {
    let parse = |text: &String| {
        let address: Result<IpAddr, _> = text.parse();
        // `::ffff:127.0.0.1` is an IPv4 address: a socket that is for IPv6 alone does not take it.
        address.map(|address| address.to_canonical()).map_err(|_| {
            options_error(format!(
                "invalid IPv4/IPv6 address specified - cannot parse: {text}"
            ))
        })
    };
    texts.iter().map(parse).collect()
}

fn options_error(message: impl ToString) -> Coded {
    Error::new("ERR_OPTIONS", message.to_string())
}

/// TypeScript passes no negative number.
fn unsigned(value: i64) -> u64 {
    value.try_into().unwrap_or(0)
}

fn milliseconds(value: i64) -> Duration {
    Duration::from_millis(unsigned(value))
}

#[napi(object)]
pub struct NativeVerdict {
    pub credentials: Option<NativeCredentials>,
    pub reason: Option<String>,
}

type Validate = ThreadsafeFunction<Buffer, NativeVerdict, Buffer, Status, false>;

/// The JavaScript function that judges credentials. While this holds it, Node's event loop does not
/// end; it is released when the proxy has stopped.
#[derive(Clone)]
struct Validator(Arc<Mutex<Option<Validate>>>);

impl Validator {
    fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl core::Validator for Validator {
    fn validate(&self, body: Bytes, verdict: oneshot::Sender<Result<core::Credentials, String>>) {
        let validate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(validate) = validate.as_ref() else {
            return;
        };
        // If the call cannot be delivered, `verdict` is dropped, and its receiver sees that.
        validate.call_with_return_value(
            Buffer::from(Vec::from(body)),
            ThreadsafeFunctionCallMode::NonBlocking,
            move |result, _| {
                let _ = verdict.send(judge(result));
                Ok(())
            },
        );
    }
}

fn judge(result: napi::Result<NativeVerdict>) -> Result<core::Credentials, String> {
    match result {
        Ok(NativeVerdict {
            credentials: Some(credentials),
            ..
        }) => credentials.check().map_err(|error| error.reason),
        Ok(NativeVerdict {
            reason: Some(reason),
            ..
        }) => Err(reason),
        Ok(_) | Err(_) => Err("the credentials could not be judged".to_owned()),
    }
}

#[napi(object)]
pub struct NativeCounters {
    pub requests: f64,
    pub requests_without_answer: f64,
    #[napi(js_name = "requests1xx")]
    pub requests_1xx: f64,
    #[napi(js_name = "requests2xx")]
    pub requests_2xx: f64,
    #[napi(js_name = "requests3xx")]
    pub requests_3xx: f64,
    #[napi(js_name = "requests4xx")]
    pub requests_4xx: f64,
    #[napi(js_name = "requests5xx")]
    pub requests_5xx: f64,
    pub request_microseconds: f64,
    pub running_requests: f64,
    pub open_connections: f64,
    pub retries: f64,
    pub refused_connections: f64,
    pub refused_upstreams: f64,
    pub upstream_connections: f64,
    pub request_bytes: f64,
    pub response_bytes: f64,
    pub credential_updates: f64,
    pub credential_failures: f64,
    pub dropped_log_lines: f64,
    pub lost_audit_lines: f64,
    pub credentials_expiry: Option<f64>,
}

/// Exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
impl From<core::Counters> for NativeCounters {
    fn from(counters: core::Counters) -> Self {
        Self {
            requests: counters.requests as f64,
            requests_without_answer: counters.requests_without_answer as f64,
            requests_1xx: counters.requests_1xx as f64,
            requests_2xx: counters.requests_2xx as f64,
            requests_3xx: counters.requests_3xx as f64,
            requests_4xx: counters.requests_4xx as f64,
            requests_5xx: counters.requests_5xx as f64,
            request_microseconds: counters.request_microseconds as f64,
            running_requests: counters.running_requests as f64,
            open_connections: counters.open_connections as f64,
            retries: counters.retries as f64,
            refused_connections: counters.refused_connections as f64,
            refused_upstreams: counters.refused_upstreams as f64,
            upstream_connections: counters.upstream_connections as f64,
            request_bytes: counters.request_bytes as f64,
            response_bytes: counters.response_bytes as f64,
            credential_updates: counters.credential_updates as f64,
            credential_failures: counters.credential_failures as f64,
            dropped_log_lines: counters.dropped_log_lines as f64,
            lost_audit_lines: counters.lost_audit_lines as f64,
            credentials_expiry: counters.credentials_expiry.map(|expiry| expiry as f64),
        }
    }
}

/// A running proxy.
#[napi]
pub struct NativeProxy {
    proxy: core::Proxy,
    validator: Validator,
}

#[napi(ts_return_type = "Promise<NativeProxy>")]
pub fn start_proxy(
    env: &Env,
    options: NativeOptions,
    #[napi(ts_arg_type = "(body: Buffer) => NativeVerdict")] validate: Validate,
) -> napi::Result<Object<'_>> {
    let validator = Validator(Arc::new(Mutex::new(Some(validate))));
    let (deferred, promise) = env.create_deferred()?;
    // Opening listeners and reading the system's certificates may take a while.
    thread::spawn(move || {
        let started = start(options, &validator);
        deferred.resolve(move |env| match started {
            Ok(proxy) => Ok(NativeProxy { proxy, validator }),
            Err(error) => {
                validator.release();
                Err(keep_code(env, error))
            }
        });
    });
    Ok(promise)
}

#[napi(object)]
pub struct NativeAnswer {
    pub status: u16,
    pub body: Buffer,
}

#[napi(ts_return_type = "Promise<NativeAnswer>")]
pub fn lookup(env: &Env, options: NativeOptions, target: String) -> napi::Result<Object<'_>> {
    let (deferred, promise) = env.create_deferred()?;
    thread::spawn(move || {
        let found = options.check().and_then(|options| {
            core::lookup(&options, &target).map_err(|error| lookup_error(&error))
        });
        deferred.resolve(move |env| match found {
            Ok(found) => Ok(NativeAnswer {
                status: found.status.as_u16(),
                body: Vec::from(found.body).into(),
            }),
            Err(error) => Err(keep_code(env, error)),
        });
    });
    Ok(promise)
}

fn lookup_error(error: &core::LookupError) -> Coded {
    match error {
        core::LookupError::Start(error) => start_error(error),
        core::LookupError::Failed(_) => Error::new("ERR_LOOKUP", error.to_string()),
    }
}

fn start(options: NativeOptions, validator: &Validator) -> Result<core::Proxy, Coded> {
    let options = options.check()?;
    core::Proxy::start(&options, Arc::new(validator.clone())).map_err(|error| start_error(&error))
}

fn start_error(error: &core::StartError) -> Coded {
    Error::new(error.code(), error.to_string())
}

/// The error as JavaScript gets it, with its own `code`; napi would put a status of its own there.
fn keep_code(env: Env, error: Coded) -> Error {
    Error::from(JsError::from(error).into_unknown(env))
}

#[napi]
impl NativeProxy {
    #[napi]
    pub fn addresses(&self) -> Vec<String> {
        self.proxy
            .addresses()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[napi]
    pub fn counters(&self) -> NativeCounters {
        self.proxy.counters().into()
    }

    #[napi(ts_return_type = "Promise<void>")]
    pub fn update_credentials<'env>(
        &self,
        env: &'env Env,
        credentials: NativeCredentials,
    ) -> napi::Result<Object<'env>> {
        let credentials = credentials
            .check()
            .map_err(|error| keep_code(*env, error))?;
        let (deferred, promise) = env.create_deferred()?;
        self.proxy
            .update_credentials(credentials, move || deferred.resolve(|_| Ok(())));
        Ok(promise)
    }

    #[napi]
    pub fn reopen_audit_log(&self) {
        self.proxy.reopen_audit_log();
    }

    #[napi(ts_return_type = "Promise<void>")]
    pub fn stop<'env>(&self, env: &'env Env, grace: i64) -> napi::Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        let validator = self.validator.clone();
        self.proxy.stop(milliseconds(grace), move || {
            deferred.resolve(move |_| {
                validator.release();
                Ok(())
            });
        });
        Ok(promise)
    }
}
