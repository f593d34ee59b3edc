//! Listening, and handing admitted connections to the threads that serve.
//!
//! One thread accepts and admits, so that a refusal costs the serving threads nothing, however fast
//! clients connect. It also ends idle connections when there are too many. What this is not: it reads
//! nothing from a connection.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use http::HeaderValue;
use socket2::{Domain, Protocol, Socket, Type};
use taskcluster_proxy_hawk::Credentials;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use crate::client::admit::{Admission, Peer, Refused, Rules};
use crate::client::listener::Listener;
use crate::client::slots::{Candidate, Limits, Slot, Slots};
use crate::decision::browser::{BrowserGuard, HostRule, machine_name};
use crate::decision::destination::Destinations;
use crate::decision::rights::Rights;
use crate::decision::route::RootUrl;
use crate::exchange::replay::ReplayBudget;
use crate::exchange::upstream::{Outside, UpstreamConfig};
use crate::record::audit::Audit;
use crate::record::log::Log;
use crate::record::metrics::{Counters, Metrics};
use crate::session::Shared;
use crate::signing::credentials::{Build, CredentialSet};
use crate::signing::in_force::InForce;
use crate::worker::{Accepted, Worker};
use crate::{Options, StartError, Validator};
use crate::{decision, exchange};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// How many connections a thread takes before the next thread gets as many. A thread that is busy
/// sleeps and wakes less for each request. With a larger number, one core would serve several long
/// downloads alone.
const CONNECTIONS_AT_A_TIME: usize = 8;
/// The most threads that serve: more would cost memory for a load that one task does not make.
const MAX_WORKERS: usize = 4;

/// How long a client waits for the place of a connection that is idle, and so about to end.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a client who may update the credentials waits for any place when all are in use.
const LAST_PATIENCE: Duration = Duration::from_millis(100);

/// How long to wait before accepting again when the system has no descriptor left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(20);

/// A running proxy.
pub struct Running {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    stop_accepting: Mutex<Option<oneshot::Sender<()>>>,
    workers: Vec<WorkerHandle>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A serving thread as the others see it.
#[derive(Clone)]
struct WorkerHandle {
    orders: mpsc::UnboundedSender<Order>,
    load: Arc<AtomicUsize>,
}

enum Order {
    Serve(Box<Accepted>),
    Update(Box<Credentials>, Box<dyn FnOnce() + Send>),
    /// Ends this connection, unless it is in use after all; the answer says whether it does.
    MakeRoom(u64, oneshot::Sender<bool>),
    Stop(Duration),
}

/// Opens the listeners and starts the threads.
///
/// # Errors
/// As [`StartError`] says.
pub fn start(options: &Options, validator: Arc<dyn Validator>) -> Result<Running, StartError> {
    let rules = Rules::new(options.allowed_user.as_deref(), &options.allowed_networks)
        .map_err(StartError::invalid)?;
    let already_running = rules.as_ref().and_then(Rules::already_running);
    let admission = rules
        .map(Admission::open)
        .transpose()
        .map_err(StartError::invalid)?;
    let limits = Limits::of_this_process()?;
    let mut upstream = UpstreamConfig::from_env(limits.connections);
    let shared = Arc::new(shared(options, validator)?);
    upstream.metrics = Arc::clone(&shared.metrics);
    upstream.http2 = options.upstream_http2;
    upstream.outside = Some(Outside::new(shared.rules.destinations.clone()));
    upstream.give_back_memory = options.give_back_memory;
    let listeners = listen(options)?;
    let addresses = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<io::Result<Vec<_>>>()?;
    let mut running = Running {
        addresses,
        shared: Arc::clone(&shared),
        stop_accepting: Mutex::default(),
        workers: Vec::new(),
        threads: Mutex::default(),
    };
    let warnings = shared.exchange.warnings(&upstream);
    running.start_workers(&Arc::new(upstream))?;
    running.start_acceptor(listeners, admission, limits)?;
    if !options.warned {
        shared.warn(warnings);
    }
    shared.warn(shared.exchange.in_force.current().length_warning());
    shared.warn(already_running);
    Ok(running)
}

fn shared(options: &Options, validator: Arc<dyn Validator>) -> Result<Shared, StartError> {
    let text = |text: &str| HeaderValue::from_str(text).map_err(StartError::invalid);
    let build = Build {
        version: text(&options.version)?,
        revision: text(&options.revision)?,
    };
    let restriction = options.authorized_scopes.clone();
    let set = CredentialSet::new(
        &options.credentials,
        restriction.as_deref(),
        build.clone(),
        Arc::default(),
    );
    let metrics = Arc::new(Metrics::default());
    let log = Log::new(
        options.log_level,
        options.log_format,
        Box::new(io::stderr()),
        Arc::clone(&metrics),
    )?;
    let root = RootUrl::parse(&options.root_url).map_err(StartError::invalid)?;
    let audit = options.audit.as_ref().map(|options| {
        Audit::open(options, Arc::clone(&metrics), log.clone()).map_err(|error| {
            let path = options.path.display();
            StartError::Options(format!("--audit-log {path} cannot be written: {error}"))
        })
    });
    let audit = audit.transpose()?;
    let exchange = exchange::Settings {
        root: root.clone(),
        in_force: InForce::new(set, options.update),
        retry: options.retry.into(),
        replay_limit: options.replay_limit,
        replay_budget: Arc::new(ReplayBudget::new(options.replay_total)),
        response_timeout: options.response_timeout,
        metrics: Arc::clone(&metrics),
        log: log.clone(),
    };
    let destinations = Destinations::new(&root, &options.upstream_hosts);
    Ok(Shared {
        rules: decision::Rules {
            destinations: destinations.map_err(StartError::invalid)?,
            root,
            guard: BrowserGuard {
                allow_cross_site: options.allow_cross_site,
                hosts: HostRule::new(&options.hosts, machine_name().as_deref())
                    .map_err(StartError::invalid)?,
            },
            restriction,
        },
        exchange: Arc::new(exchange),
        build,
        validator,
        header_timeout: options.header_timeout,
        audit,
        log,
        metrics,
    })
}

// === Listening ===

/// The listeners that the options ask for, and one on 127.0.0.1 beside an allowed network, so that
/// the launcher can connect without address translation.
fn listen(options: &Options) -> Result<Vec<TcpListener>, StartError> {
    let mut addresses = options.ip_addresses.clone();
    let everywhere = addresses.is_empty();
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let covered = everywhere
        || addresses
            .iter()
            .any(|address| *address == loopback || *address == Ipv4Addr::UNSPECIFIED);
    if !options.allowed_networks.is_empty() && !covered {
        addresses.push(loopback);
    }
    if everywhere {
        return Ok(vec![listen_everywhere(options.port)?]);
    }
    let mut tries = if options.port == 0 { FREE_PORTS } else { 1 };
    loop {
        tries -= 1;
        match listen_at(&addresses, options.port) {
            Err(StartError::Listen { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            outcome => return outcome,
        }
    }
}

/// How many ports are tried where any will do: one that is free on the first address may be in use on
/// another.
const FREE_PORTS: u32 = 16;

fn listen_at(addresses: &[IpAddr], mut port: u16) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    for &address in addresses {
        let listener = listen_on(SocketAddr::new(address, port), true)?;
        // Port 0 is one port for all.
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(listeners)
}

/// All interfaces by one socket where the system has IPv6, by IPv4 alone where it has not.
fn listen_everywhere(port: u16) -> Result<TcpListener, StartError> {
    match listen_on(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), false) {
        Err(StartError::Listen { source, .. }) if source.kind() != io::ErrorKind::AddrInUse => {
            listen_on(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), false)
        }
        other => other,
    }
}

fn listen_on(address: SocketAddr, only_v6: bool) -> Result<TcpListener, StartError> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        // On Windows this would let another process take the address over.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|source| StartError::Listen { address, source })
}

// === The accepting thread ===

struct Acceptor {
    shared: Arc<Shared>,
    admission: Option<RefCell<Admission>>,
    slots: Slots,
    workers: Vec<WorkerHandle>,
}

impl Acceptor {
    async fn run(self: Rc<Self>, listener: Listener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.accepted(stream, peer).await,
                Err(error) => {
                    self.shared
                        .log
                        .refused(format_args!("Cannot accept a connection: {error}"));
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }

    async fn accepted(&self, stream: TcpStream, peer: SocketAddr) {
        let placed = match self.admit(&stream, peer) {
            Ok((rights, known)) => {
                let placed = self.place(rights).await;
                placed.map(|placed| (rights, known, placed))
            }
            Err(refused) => Err(refused),
        };
        match placed {
            Ok((rights, known, placed)) => self.hand_over(stream, rights, known, placed),
            Err(refused) if has_come_for_nothing(&stream, &refused) => {}
            Err(refused) => {
                self.shared.metrics.refused_connections.add(1);
                self.shared
                    .log
                    .refused(format_args!("Refused a connection from {peer}: {refused}"));
            }
        }
    }

    fn admit(&self, stream: &TcpStream, peer: SocketAddr) -> Result<(Rights, Peer), Refused> {
        stream.set_nonblocking(true).map_err(Refused::Os)?;
        match &self.admission {
            None => Ok((Rights::ALL, Peer::Address(peer.ip().to_canonical()))),
            Some(admission) => admission.borrow_mut().admit(stream, peer),
        }
    }

    fn hand_over(
        &self,
        stream: TcpStream,
        rights: Rights,
        peer: Peer,
        (worker, slot): (usize, Slot),
    ) {
        let counted = self.shared.metrics.connection();
        let accepted = Box::new(Accepted {
            stream,
            rights,
            peer,
            slot,
            counted,
        });
        // If the receiver has gone, the proxy is being stopped.
        let _ = self.workers[worker].orders.send(Order::Serve(accepted));
    }

    /// The thread that is to serve a connection, and a place for it.
    async fn place(&self, rights: Rights) -> Result<(usize, Slot), Refused> {
        let load = |worker: &usize| {
            self.workers[*worker].load.load(Ordering::Relaxed) / CONNECTIONS_AT_A_TIME
        };
        let worker = (0..self.workers.len()).min_by_key(load);
        let worker = worker.ok_or(Refused::NoPlace)?;
        let slot = self.slot(rights, worker).await;
        Ok((worker, slot.ok_or(Refused::NoPlace)?))
    }

    /// A place among the connections. If none is left, idle ones make room: otherwise a task that
    /// opens connections and sends nothing would keep all others out. If all are in use, a client who
    /// may update the credentials gets a reserved one.
    async fn slot(&self, rights: Rights, worker: usize) -> Option<Slot> {
        let thread = (worker, &self.workers[worker].load);
        let end = |candidate: &Candidate| self.order_end(candidate);
        let slot = timeout(PATIENCE, self.slots.claim(false, thread, end)).await;
        if let Ok(Some(slot)) = slot {
            return Some(slot);
        }
        if !rights.update {
            return None;
        }
        let from_reserve = self.slots.wait_for(true, thread, end);
        timeout(LAST_PATIENCE, from_reserve).await.ok()
    }

    /// Orders a connection to end at once. The future tells whether it does.
    fn order_end(&self, candidate: &Candidate) -> impl Future<Output = bool> + use<> {
        let (answer, answered) = oneshot::channel();
        let order = Order::MakeRoom(candidate.number, answer);
        // If the thread has ended, its connections have, too.
        let _ = self.workers[candidate.worker].orders.send(order);
        async { answered.await.unwrap_or(true) }
    }
}

/// Whether the client of a refused connection has left without having sent a byte, as a launcher does
/// that asks whether the port is open. Nothing is taken from the connection.
fn has_come_for_nothing(stream: &TcpStream, refused: &Refused) -> bool {
    match stream.peek(&mut [0]) {
        Ok(waiting) => waiting == 0,
        // The time of the end may be set before it comes.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => refused.has_left(),
        Err(_) => true,
    }
}

// === Running ===

impl Running {
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn counters(&self) -> Counters {
        Counters {
            credentials_expiry: self.shared.exchange.in_force.current().expiry(),
            ..self.shared.metrics.snapshot()
        }
    }

    pub fn update_credentials(&self, credentials: Credentials, done: Box<dyn FnOnce() + Send>) {
        if let Some(worker) = self.workers.first() {
            let _ = worker
                .orders
                .send(Order::Update(Box::new(credentials), done));
        }
    }

    pub fn reopen_audit_log(&self) {
        if let Some(audit) = &self.shared.audit {
            audit.reopen();
        }
    }

    pub fn stop(&self, grace: Duration, done: Box<dyn FnOnce() + Send>) {
        drop(lock(&self.stop_accepting).take());
        for worker in &self.workers {
            let _ = worker.orders.send(Order::Stop(grace));
        }
        let threads = std::mem::take(&mut *lock(&self.threads));
        let log = self.shared.log.clone();
        let audit = self.shared.audit.clone();
        let wait = move || {
            for thread in threads {
                let _ = thread.join();
            }
            if let Some(audit) = audit {
                audit.finish();
            }
            log.flush(Duration::from_secs(1));
            done();
        };
        // If no thread can be started, `done` is dropped.
        let _ = std::thread::Builder::new()
            .name("stop".to_owned())
            .spawn(wait);
    }

    fn start_workers(&mut self, upstream: &Arc<UpstreamConfig>) -> io::Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for number in 0..cores.min(MAX_WORKERS) {
            let (orders, received) = mpsc::unbounded_channel();
            self.workers.push(WorkerHandle {
                orders,
                load: Arc::default(),
            });
            let shared = Arc::clone(&self.shared);
            let upstream = Arc::clone(upstream);
            self.spawn(format!("serve-{number}"), move |runtime| {
                let local = LocalSet::new();
                local.block_on(&runtime, work(shared, upstream, received));
                // Tunnels and connections that outlived the grace end here.
                drop(local);
                runtime.shutdown_background();
            })?;
        }
        Ok(())
    }

    fn start_acceptor(
        &mut self,
        listeners: Vec<TcpListener>,
        admission: Option<Admission>,
        limits: Limits,
    ) -> io::Result<()> {
        let (stop, stopped) = oneshot::channel::<()>();
        *lock(&self.stop_accepting) = Some(stop);
        let shared = Arc::clone(&self.shared);
        let workers = self.workers.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        self.spawn("accept".to_owned(), move |runtime| {
            let local = LocalSet::new();
            local.block_on(&runtime, async move {
                let admission = admission.map(RefCell::new);
                let slots = Slots::new(limits);
                let acceptor = Rc::new(Acceptor {
                    shared,
                    admission,
                    slots,
                    workers,
                });
                let registered: io::Result<Vec<Listener>> =
                    listeners.into_iter().map(Listener::new).collect();
                match registered {
                    Ok(listeners) => {
                        for listener in listeners {
                            spawn_local(Rc::clone(&acceptor).run(listener));
                        }
                        let _ = ready.send(Ok(()));
                        let _ = stopped.await;
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            });
        })?;
        is_ready
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn spawn(&self, name: String, run: impl FnOnce(Runtime) + Send + 'static) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || run(runtime))?;
        lock(&self.threads).push(thread);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(lock(&self.stop_accepting).take());
        for worker in &self.workers {
            let _ = worker.orders.send(Order::Stop(Duration::ZERO));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One serving thread: takes orders until it has to stop and its connections have ended.
async fn work(
    shared: Arc<Shared>,
    upstream: Arc<UpstreamConfig>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let worker = Worker::new(Arc::clone(&shared), upstream);
    let grace = loop {
        match orders.recv().await {
            Some(Order::Serve(accepted)) => worker.serve(*accepted),
            Some(Order::Update(credentials, done)) => {
                let shared = Arc::clone(&shared);
                spawn_local(async move {
                    // The API waits for its update to the end.
                    let _ = shared.update(&credentials, || true).await;
                    done();
                });
            }
            Some(Order::MakeRoom(number, answer)) => {
                let _ = answer.send(worker.make_room(number));
            }
            Some(Order::Stop(grace)) => break grace,
            None => break Duration::ZERO,
        }
    };
    // Connections that are left after the grace end with the thread.
    let _ = timeout(grace, worker.stop()).await;
}
