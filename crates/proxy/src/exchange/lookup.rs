//! A request of the proxy's own: one signed GET to the deployment; its answer is read to the end. It
//! reads the task of `--task-id` before the listeners open.
//!
//! It has the connections, the signature, the clock and the tries of every request. What this is not:
//! no client waits for it, and the caller judges the answer.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use thiserror::Error;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::{Instant, timeout};

use crate::decision::route::{RootUrl, Target};
use crate::exchange::replay::ReplayBudget;
use crate::exchange::send_error::{SendError, Sent, Unanswered, name_of};
use crate::exchange::upstream::{Need, Upstream, UpstreamConfig};
use crate::exchange::wire::{Answer, Failure, Wire};
use crate::exchange::{Exchange, Failed, Order, Settings, reasons};
use crate::limits::LOOKUP_BODY;
use crate::message::strict_body::BodyError;
use crate::record::log::Log;
use crate::signing::credentials::{Build, CredentialSet};
use crate::signing::in_force::InForce;
use crate::{Options, StartError, Update};

/// How long a try may take, its answer's body included. Another try may be faster.
const TRY: Duration = Duration::from_secs(60);
/// How long the last lines of the log may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What the deployment answered.
#[derive(Debug)]
pub struct Found {
    /// Status of the answer; 5xx where there is no time left for another try.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
    fields: HeaderMap,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum LookupError {
    /// It cannot be asked for.
    #[error(transparent)]
    Start(#[from] StartError),
    /// No answer came, and no further try can help.
    #[error("{0}")]
    Failed(String),
}

/// Asks the deployment for `target`, an origin-form target. Only root URL, credentials, retries and log
/// of `options` count. The log has the warnings of a start, and each failed try but the last, which is
/// the error.
///
/// # Errors
/// As [`LookupError`] says.
pub fn lookup(options: &Options, target: &str) -> Result<Found, LookupError> {
    let root = RootUrl::parse(&options.root_url).map_err(StartError::invalid)?;
    let target = Target {
        origin: root.origin().clone(),
        target: PathAndQuery::try_from(target).map_err(StartError::invalid)?,
    };
    let settings = Arc::new(settings(options, root)?);
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(StartError::Os)?;
    let mut config = UpstreamConfig::from_env(1);
    config.http2 = options.upstream_http2;
    for warning in settings.warnings(&config) {
        settings.log.warn(format_args!("{warning}"));
    }
    let asking = ask(&settings, &target, Arc::new(config));
    let found = LocalSet::new().block_on(&runtime, asking);
    runtime.shutdown_background();
    settings.log.flush(LAST_LINES);
    found.map_err(|failed| LookupError::Failed(failed.to_string()))
}

fn settings(options: &Options, root: RootUrl) -> Result<Settings, StartError> {
    let nothing = HeaderValue::from_static("");
    let build = Build {
        version: nothing.clone(),
        revision: nothing,
    };
    let set = CredentialSet::new(&options.credentials, None, build, Arc::default());
    let metrics = Arc::default();
    let log = Log::new(
        options.log_level,
        options.log_format,
        Box::new(io::stderr()),
        Arc::clone(&metrics),
    )?;
    Ok(Settings {
        root,
        in_force: InForce::new(set, Update::Immediate),
        retry: options.retry.into(),
        replay_limit: 0,
        replay_budget: Arc::new(ReplayBudget::new(0)),
        response_timeout: TRY,
        metrics,
        log,
    })
}

async fn ask(
    settings: &Arc<Settings>,
    target: &Target,
    config: Arc<UpstreamConfig>,
) -> Result<Found, Failed> {
    let exchange = Exchange::new(Arc::clone(settings), Upstream::new(Arc::clone(&config)));
    let order = Order {
        method: &Method::GET,
        target,
        scopes: None,
        came: Instant::now(),
        sendings: Cell::default(),
    };
    let mut wire = LookupWire {
        exchange: &exchange,
        order: &order,
        upstream: Upstream::new(config),
    };
    Ok(exchange.run(&order, &mut wire).await?.answer)
}

/// Sends a request without a body, and reads its answer to the end: one that breaks off is tried
/// again.
struct LookupWire<'a> {
    exchange: &'a Exchange,
    order: &'a Order<'a>,
    upstream: Rc<Upstream<Empty<Bytes>>>,
}

impl Wire for LookupWire<'_> {
    type Answer = Found;

    async fn send(&mut self, set: &CredentialSet, fresh: bool) -> Result<Found, Failure> {
        let host = || name_of(&self.order.target.origin);
        let sending = async {
            let response = self.ask(set, fresh).await?;
            let (head, body) = response.into_parts();
            let body = read(body).await.map_err(|error| Unanswered {
                error: SendError::BrokeOff {
                    host: host(),
                    reason: reasons::of(&error).into(),
                },
                sent: Sent::Perhaps,
            })?;
            Ok(Found {
                status: head.status,
                fields: head.headers,
                body,
            })
        };
        timeout(TRY, sending).await.unwrap_or_else(|_| {
            Err(Failure::Unanswered(Unanswered {
                error: SendError::Network {
                    host: host(),
                    reason: format!("no answer within {} s", TRY.as_secs()).into(),
                },
                sent: Sent::Perhaps,
            }))
        })
    }

    fn can_resend(&self) -> bool {
        true
    }
}

impl LookupWire<'_> {
    async fn ask(
        &self,
        set: &CredentialSet,
        fresh: bool,
    ) -> Result<http::Response<impl Body<Data = Bytes, Error = BodyError> + Unpin>, Unanswered>
    {
        let need = Need {
            new: fresh,
            ..Need::default()
        };
        let origin = &self.order.target.origin;
        let connection = self.upstream.connect(origin, need).await?;
        let headers = HeaderMap::new();
        let request = self
            .exchange
            .request(self.order, set, headers, Empty::new());
        connection.send(request, |_, _| {}).await
    }
}

/// A body to its end, or as much of it as is read.
async fn read(
    mut body: impl Body<Data = Bytes, Error = BodyError> + Unpin,
) -> Result<Bytes, BodyError> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
        if whole.len() > LOOKUP_BODY {
            whole.truncate(LOOKUP_BODY);
            break;
        }
    }
    Ok(whole.into())
}

impl Answer for Found {
    type Fields = HeaderMap;

    fn status(&self) -> StatusCode {
        self.status
    }

    fn fields(&self) -> &HeaderMap {
        &self.fields
    }
}
