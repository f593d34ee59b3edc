//! The slots of connections.
//!
//! - There are never more connections than slots.
//! - A client that waits for a place gets one if a connection ends or can be ended.
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

/// One of each kind.
const LIMITS: Limits = Limits {
    connections: 1,
    reserved: 1,
};

/// What the thread that serves is told.
enum Order {
    Serve(Connection),
    MakeRoom(u64, oneshot::Sender<bool>),
}

/// A connection, counted as long as it is open.
struct Connection {
    slot: Slot,
    open: Arc<[Count; 2]>,
}

/// The thread that accepts; its listeners are tasks.
struct Acceptor {
    slots: Slots,
    load: Arc<AtomicUsize>,
    open: Arc<[Count; 2]>,
    orders: Sender<Order>,
}

/// Clients of two listeners connect and are idle, so that each takes the place of another, beside one
/// who waits for a place of those held back, which is in use until its connection ends.
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

/// Both slots are in use until their connections end, and each has one who waits for it.
pub fn busy_connections_end() {
    run(async |acceptor| {
        let (task, launcher) = (acceptor.take(false).await, acceptor.take(true).await);
        let ending = vec![ends_by_itself(task), ends_by_itself(launcher)];
        tokio::join!(acceptor.wait(true), acceptor.wait(false));
        ending
    });
}

fn run(listeners: impl AsyncFnOnce(&Acceptor) -> Vec<JoinHandle<()>>) {
    let (orders, received) = channel();
    let serving = thread::spawn(move || serve(&received));
    let acceptor = Acceptor {
        slots: Slots::new(LIMITS),
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

/// Ends connections some time after it is told to, and at last all.
fn serve(orders: &Receiver<Order>) {
    let mut connections = HashMap::new();
    let mut ending = Vec::new();
    for order in orders {
        match order {
            Order::Serve(connection) => {
                connections.insert(connection.slot.number, connection);
            }
            Order::MakeRoom(number, answer) => {
                let _ = answer.send(true);
                if let Some(connection) = connections.remove(&number) {
                    ending.push(thread::spawn(move || connection.end()));
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
    /// A client connects, and is idle from then on.
    async fn accept(&self, reserved: bool) {
        let connection = self.take(reserved).await;
        let _ = self.orders.send(Order::Serve(connection));
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
        let before = self.open[usize::from(slot.reserved)].fetch_add(1, SeqCst);
        assert_eq!(before, 0, "too many connections");
        Connection {
            slot,
            open: Arc::clone(&self.open),
        }
    }

    fn order_end(&self, candidate: &Candidate) -> impl Future<Output = bool> + use<> {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Order::MakeRoom(candidate.number, answer));
        async { answered.await.unwrap_or(true) }
    }
}

impl Connection {
    /// What else is on it goes after its place.
    fn end(self) {
        let usage = Arc::clone(&self.slot.usage);
        self.open[usize::from(self.slot.reserved)].fetch_sub(1, SeqCst);
        drop(self.slot);
        thread::yield_now();
        drop(usage);
    }
}
