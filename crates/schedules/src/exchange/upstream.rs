//! The permits of connections, and a stand-in for one thread's connections.

#[allow(dead_code, reason = "the models use a part of it")]
#[path = "../../../proxy/src/exchange/upstream/permits.rs"]
pub mod permits;

use std::sync::Arc;

use self::permits::{Permit, Permits};
use self::pool::Pool;
use crate::exchange::send_error::SendError;

/// One thread's connections, each its permit and nothing else: they are made, kept and closed as
/// `crates/proxy/src/exchange/upstream` does it.
pub struct Connections {
    permits: Arc<Permits>,
    pool: Pool<()>,
}

impl Connections {
    pub fn new(permits: Arc<Permits>) -> Self {
        Self {
            permits,
            pool: Pool::default(),
        }
    }

    /// A free connection, or a new one.
    pub async fn take(&self) -> Result<Permit, SendError> {
        loop {
            let free = self.pool.idle.borrow_mut().pop();
            if let Some(free) = free {
                return Ok(free);
            }
            if let Some(new) = self.permits.take(&self.pool).await? {
                return Ok(new);
            }
        }
    }

    /// Keeps the connection of a request that has ended, unless others need its permit.
    pub fn give_back(&self, connection: Permit) {
        if !self.permits.are_wanted() || self.pool.is_awaited() {
            self.pool.put(connection);
        }
    }

    /// Whether `number` connections can be opened at once, now that none is open.
    pub async fn are_all_there(&self, number: usize) -> bool {
        let mut taken = Vec::new();
        while taken.len() < number && !self.permits.are_wanted() {
            taken.extend(self.permits.take(&self.pool).await.ok().flatten());
        }
        taken.len() == number
    }

    /// Closes what is idle, when others need it.
    pub async fn reap(&self) {
        loop {
            self.permits.pressure().await;
            self.pool.idle.borrow_mut().clear();
        }
    }
}

mod pool {
    use std::cell::{Cell, RefCell};
    use std::marker::PhantomData;

    use super::Permit;
    use crate::sync::Notify;

    #[derive(Default)]
    pub struct Pool<B> {
        pub idle: RefCell<Vec<Permit>>,
        waiting: Cell<usize>,
        freed: Notify,
        body: PhantomData<B>,
    }

    /// A request that waits, until this is dropped.
    struct Waiting<'a>(&'a Cell<usize>);

    impl<B> Pool<B> {
        pub fn put(&self, connection: Permit) {
            self.idle.borrow_mut().push(connection);
            if self.is_awaited() {
                self.freed.notify_one();
            }
        }

        pub fn is_awaited(&self) -> bool {
            self.waiting.get() > 0
        }

        pub async fn freed(&self) {
            self.waiting.set(self.waiting.get() + 1);
            let _waiting = Waiting(&self.waiting);
            self.freed.notified().await;
        }
    }

    impl Drop for Waiting<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
}
