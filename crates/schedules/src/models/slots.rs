//! The slots of connections.
//!
//! - There are never more connections than slots.
//! - A client that waits for a place gets one if a connection ends or can be ended.
//! - A connection that is in use is not ended, and not waited for while another one is idle.
//! - When all have ended, all slots are free and no thread counts one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Count, Ordering::SeqCst};

use shuttle::future::block_on;
use shuttle::sync::mpsc::{Receiver, Sender, channel};
use shuttle::thread::{self, JoinHandle};
use tokio::sync::oneshot;

use crate::client::slots::{Candidate, Limits, Slot, Slots};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// One slot of each kind.
const LIMITS: Limits = Limits {
    connections: 1,
    reserved: 1,
};

/// Three slots of tasks.
const THREE_OF_TASKS: Limits = Limits {
    connections: 3,
    reserved: 1,
};

/// What the thread that serves is told.
enum Order {
    Serve(Connection),
    MakeRoom(u64, oneshot::Sender<bool>),
    /// A request has come on this connection.
    Begin(u64),
    /// Its answer has been relayed.
    Finish(u64),
}

/// A connection, counted as long as it is open.
struct Connection {
    slot: Slot,
    open: Arc<[Count; 2]>,
    /// Requests that run on it, as its client counts them.
    requests: usize,
}

/// The thread that accepts; its listeners are tasks.
struct Acceptor {
    limits: Limits,
    slots: Slots,
    load: Arc<AtomicUsize>,
    open: Arc<[Count; 2]>,
    orders: Sender<Order>,
}

/// Clients of two listeners connect and are idle, so that each takes the place of another. A further
/// client waits for a reserved place, which is in use until its connection ends.
pub fn idle_connections_make_room() {
    run(async |acceptor| {
        let busy = acceptor.take(true).await;
        let ending = ends_by_itself(busy);
        tokio::join!(
            acceptor.accept(false),
            async {
                acceptor.accept(false).await;
                acceptor.accept(false).await;
            },
            acceptor.wait(true)
        );
        vec![ending]
    });
}

/// Both slots are in use until their connections end, and for each of them a client waits.
pub fn busy_connections_end() {
    run(async |acceptor| {
        let (task, launcher) = (acceptor.take(false).await, acceptor.take(true).await);
        let ending = vec![ends_by_itself(task), ends_by_itself(launcher)];
        tokio::join!(acceptor.wait(true), acceptor.wait(false));
        ending
    });
}

/// Of three idle connections, the two that have been idle for longest get a request at any moment. A new
/// client gets a place without the end of either of them.
pub fn a_busy_connection_is_kept() {
    run_with(THREE_OF_TASKS, async |acceptor| {
        let first = acceptor.accept(false).await;
        let second = acceptor.accept(false).await;
        acceptor.accept(false).await;
        let orders = acceptor.orders.clone();
        let clients = thread::spawn(move || {
            let both = [first, second];
            let begin = both.map(Order::Begin).into_iter();
            for order in begin.chain(both.map(Order::Finish)) {
                let _ = orders.send(order);
            }
        });
        acceptor.accept(false).await;
        vec![clients]
    });
}

fn run(listeners: impl AsyncFnOnce(&Acceptor) -> Vec<JoinHandle<()>>) {
    run_with(LIMITS, listeners);
}

fn run_with(limits: Limits, listeners: impl AsyncFnOnce(&Acceptor) -> Vec<JoinHandle<()>>) {
    let (orders, received) = channel();
    let serving = thread::spawn(move || serve(&received));
    let acceptor = Acceptor {
        limits,
        slots: Slots::new(limits),
        load: Arc::default(),
        open: Arc::default(),
        orders,
    };
    for ending in block_on(listeners(&acceptor)) {
        ending.join().expect("no panic");
    }
    let Acceptor {
        slots,
        load,
        open,
        orders,
        ..
    } = acceptor;
    drop(orders);
    serving.join().expect("no panic");
    assert_eq!(load.load(Ordering::Relaxed), 0);
    assert!(open.iter().all(|open| open.load(SeqCst) == 0));
    for reserved in [false, true] {
        let none = |_: &Candidate| async { unreachable!("none is open") };
        assert!(block_on(slots.claim(reserved, (0, &load), none)).is_some());
    }
}

/// Ends idle connections some time after it is told to, and at last all connections.
fn serve(orders: &Receiver<Order>) {
    let mut connections = HashMap::new();
    let mut ending = Vec::new();
    for order in orders {
        match order {
            Order::Serve(connection) => {
                connections.insert(connection.slot.number, connection);
            }
            Order::MakeRoom(number, answer) => {
                let is_busy = |connection: &Connection| connection.slot.usage.is_busy();
                let stays = connections.get(&number).is_some_and(is_busy);
                let _ = answer.send(!stays);
                if !stays && let Some(connection) = connections.remove(&number) {
                    assert_eq!(connection.requests, 0, "ended in the middle of a request");
                    ending.push(thread::spawn(move || connection.end()));
                }
            }
            Order::Begin(number) => {
                if let Some(connection) = connections.get_mut(&number) {
                    connection.slot.usage.begin();
                    connection.requests += 1;
                }
            }
            Order::Finish(number) => {
                if let Some(connection) = connections.get_mut(&number)
                    && connection.requests > 0
                {
                    connection.slot.usage.end();
                    connection.requests -= 1;
                }
            }
        }
    }
    connections.into_values().for_each(Connection::end);
    for ending in ending {
        ending.join().expect("no panic");
    }
}

fn ends_by_itself(connection: Connection) -> JoinHandle<()> {
    connection.slot.usage.begin();
    thread::spawn(move || connection.end())
}

impl Acceptor {
    /// A client connects, and is idle from then on. Returns the number of its connection.
    async fn accept(&self, reserved: bool) -> u64 {
        let connection = self.take(reserved).await;
        let number = connection.slot.number;
        let _ = self.orders.send(Order::Serve(connection));
        number
    }

    async fn take(&self, reserved: bool) -> Connection {
        let end = |candidate: &Candidate| self.order_end(candidate);
        let slot = self.slots.claim(reserved, (0, &self.load), end).await;
        self.connection(slot.expect("one that is idle makes room"))
    }

    /// A client waits for a place.
    async fn wait(&self, reserved: bool) {
        let end = |candidate: &Candidate| self.order_end(candidate);
        let slot = self.slots.wait_for(reserved, (0, &self.load), end).await;
        let _ = self.orders.send(Order::Serve(self.connection(slot)));
    }

    fn connection(&self, slot: Slot) -> Connection {
        let Limits {
            connections,
            reserved,
        } = self.limits;
        let most = if slot.reserved { reserved } else { connections };
        let before = self.open[usize::from(slot.reserved)].fetch_add(1, SeqCst);
        assert!(before < most, "too many connections");
        Connection {
            slot,
            open: Arc::clone(&self.open),
            requests: 0,
        }
    }

    fn order_end(&self, candidate: &Candidate) -> impl Future<Output = bool> + use<> {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Order::MakeRoom(candidate.number, answer));
        async { answered.await.unwrap_or(true) }
    }
}

impl Connection {
    /// Other parts of a connection end after its place is free.
    fn end(self) {
        let usage = Arc::clone(&self.slot.usage);
        self.open[usize::from(self.slot.reserved)].fetch_sub(1, SeqCst);
        drop(self.slot);
        thread::yield_now();
        drop(usage);
    }
}
