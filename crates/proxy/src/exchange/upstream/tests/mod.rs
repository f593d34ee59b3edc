//! Outgoing connections to real sockets: servers that do what the test says, byte for byte where it
//! matters.

mod http1;
mod http2;
mod limits;
mod proxies;
mod server;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::environment::Proxies;
use super::tls::Roots;
use super::{Connection, Need, ResponseBody, Upstream, UpstreamConfig};
use crate::decision::route::{Origin, split_url};
use crate::exchange::send_error::{SendError, Sent, Unanswered};

/// What a test has to be over in, and every wait in it.
const PATIENCE: Duration = Duration::from_secs(10);

type Plain = Full<Bytes>;

fn need(http1: bool, new: bool) -> Need {
    Need {
        http1,
        new,
        long: false,
    }
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Both steps in one.
    async fn send(
        self: &Rc<Self>,
        origin: &Origin,
        request: Request<B>,
        needs_http1: bool,
    ) -> Result<Response<ResponseBody<B>>, Unanswered> {
        let connection = self.connect(origin, need(needs_http1, false)).await?;
        connection.send(request, |_, _| {}).await
    }
}

/// Runs a test as a thread of the proxy runs.
fn run(test: impl Future<Output = ()>) {
    run_within(PATIENCE, test);
}

fn run_within(limit: Duration, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(limit, test).await.expect("in time");
    });
}

fn config() -> UpstreamConfig {
    config_with(Proxies::default(), Vec::new(), 100)
}

fn config_with(
    proxies: Proxies,
    roots: Vec<CertificateDer<'static>>,
    connections: usize,
) -> UpstreamConfig {
    UpstreamConfig::new(proxies, Roots::only(roots), connections)
}

fn upstream() -> Rc<Upstream<Plain>> {
    Upstream::new(Arc::new(config()))
}

fn origin(url: &str) -> Origin {
    split_url(url).expect("a URL").0
}

fn plain(address: SocketAddr) -> Origin {
    origin(&format!("http://{address}"))
}

/// The origin by the name that the certificates are made for.
fn secure(address: SocketAddr) -> Origin {
    origin(&format!("https://localhost:{}", address.port()))
}

fn get(target: &'static str) -> Request<Plain> {
    Request::get(target)
        .body(Full::default())
        .expect("a request")
}

fn post(body: &'static str) -> Request<Plain> {
    Request::post("/")
        .body(Full::from(body))
        .expect("a request")
}

/// The whole body as text.
async fn text<B>(response: Response<ResponseBody<B>>) -> String {
    let body = response
        .into_body()
        .collect()
        .await
        .expect("no error")
        .to_bytes();
    String::from_utf8(body.to_vec()).expect("it is text")
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// The other side of a connection, written byte by byte.
struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.expect("a connection");
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// The next head, up to and with its empty line.
    async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).expect("it is text");
            }
            assert!(self.more().await, "it ends within a head: {:?}", self.read);
        }
    }

    /// The next `length` bytes.
    async fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.more().await, "it ends early: {:?}", self.read);
        }
        self.read.drain(..length).collect()
    }

    async fn more(&mut self) -> bool {
        self.read.reserve(16 * 1024);
        self.stream
            .read_buf(&mut self.read)
            .await
            .is_ok_and(|length| length > 0)
    }

    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .await
            .expect("it is read");
    }

    /// Waits until the other side has closed.
    async fn closed(&mut self) {
        while self.more().await {}
    }
}

/// An upstream that the test plays, and the outgoing connections to it.
struct Scene<B = Plain> {
    listener: TcpListener,
    upstream: Rc<Upstream<B>>,
    origin: Origin,
}

impl<B> Scene<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn new() -> Self {
        let (listener, address) = listen().await;
        Self {
            listener,
            upstream: Upstream::new(Arc::new(config())),
            origin: plain(address),
        }
    }

    async fn send(&self, request: Request<B>) -> Result<Response<ResponseBody<B>>, Unanswered> {
        self.upstream.send(&self.origin, request, false).await
    }

    /// Sends `request` while a new connection's other side does as `play` says; gives the other side,
    /// too, which keeps the connection open.
    async fn played(
        &self,
        request: Request<B>,
        play: impl AsyncFnOnce(&mut Peer),
    ) -> (Result<Response<ResponseBody<B>>, Unanswered>, Peer) {
        let playing = async {
            let mut peer = Peer::accept(&self.listener).await;
            play(&mut peer).await;
            peer
        };
        tokio::join!(self.send(request), playing)
    }

    async fn connect(&self, need: Need) -> Connection<B> {
        let connection = self.upstream.connect(&self.origin, need).await;
        connection.expect("a connection")
    }
}

impl Scene {
    /// Each connection is served with the scripts in turn.
    async fn serving(connections: Vec<Vec<&'static str>>) -> (Rc<Upstream<Plain>>, Origin) {
        let scene = Self::new().await;
        serve(scene.listener, connections);
        (scene.upstream, scene.origin)
    }
}

/// Serves each connection with the scripts in turn: a request is read, its script written, and
/// after the last script the connection closed. An empty script writes nothing.
fn serve(listener: TcpListener, connections: Vec<Vec<&'static str>>) {
    tokio::task::spawn_local(async move {
        for scripts in connections {
            let mut peer = Peer::accept(&listener).await;
            tokio::task::spawn_local(async move {
                for script in scripts {
                    peer.head().await;
                    peer.write(script).await;
                }
            });
        }
    });
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A certificate authority of the test's own.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A name that no other authority has.
        let name = format!("{:?}", &key.public_key_raw()[..20]);
        params.distinguished_name.push(DnType::CommonName, name);
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate"),
        }
    }

    fn root(&self) -> CertificateDer<'static> {
        self.issuer.as_ref().der().clone()
    }

    /// A server's side of TLS for `name`, which offers `protocols`.
    fn acceptor(&self, name: &str, protocols: &[&str]) -> TlsAcceptor {
        self.acceptor_with(name, protocols, |_| {})
    }

    fn acceptor_with(
        &self,
        name: &str,
        protocols: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        accepting(certificate.der().clone(), key, protocols)
    }

    /// Outgoing connections that trust this authority, and offer HTTP/2, too.
    fn upstream(&self) -> Rc<Upstream<Plain>> {
        Upstream::new(Arc::new(UpstreamConfig {
            http2: true,
            ..self.config()
        }))
    }

    fn config(&self) -> UpstreamConfig {
        config_with(Proxies::default(), vec![self.root()], 100)
    }
}

/// A server's side of TLS.
fn accepting(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    protocols: &[&str],
) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they fit");
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    TlsAcceptor::from(Arc::new(config))
}

/// Waits until `condition` holds.
async fn eventually(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
