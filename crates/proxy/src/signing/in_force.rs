//! The credential set in force, and how another one takes its place.
//!
//! A request enters before it is signed, and leaves when its answer has been relayed and upstream has
//! its body. An update waits for the requests in the set that it replaces, and later requests wait for
//! the update. What this is not: it judges no credentials (the caller's `Validator` does), and computes
//! no set.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock};
use tokio::time::Instant;

use super::credentials::CredentialSet;
use crate::Update;
use crate::sync::ArcSwap;
use crate::sync::time::sleep_until;

/// The set in force.
pub struct InForce {
    current: ArcSwap<Term>,
    /// Held by the update whose turn it is.
    turn: Mutex<()>,
    update: Update,
}

/// The time for which one set is in force, and the requests that began in it.
struct Term {
    set: Arc<CredentialSet>,
    /// The same set. Read by requests that run, locked by the update that ends the term; it is fair,
    /// so requests that come while the update waits go behind it.
    running: Arc<RwLock<Arc<CredentialSet>>>,
}

/// A request that runs with the set that it was signed with.
pub struct Entered {
    narrowed: Option<Arc<CredentialSet>>,
    running: OwnedRwLockReadGuard<Arc<CredentialSet>>,
}

/// The update was not wanted any more when its turn came.
#[derive(Debug, PartialEq, Eq)]
pub struct Abandoned;

impl Term {
    fn of(set: CredentialSet) -> Self {
        let set = Arc::new(set);
        Self {
            running: Arc::new(RwLock::new(Arc::clone(&set))),
            set,
        }
    }
}

impl Entered {
    /// The set that it runs with.
    pub fn set(&self) -> &Arc<CredentialSet> {
        self.narrowed.as_ref().unwrap_or(&self.running)
    }

    /// Runs with the same set, narrowed to `scopes`.
    pub fn narrow(&mut self, scopes: &[String]) {
        self.narrowed = Some(Arc::new(self.set().narrowed(scopes)));
    }
}

impl InForce {
    pub fn new(set: CredentialSet, update: Update) -> Self {
        Self {
            current: ArcSwap::from_pointee(Term::of(set)),
            turn: Mutex::default(),
            update,
        }
    }

    /// The set in force, for naming it; what is signed is signed after [`InForce::enter`].
    pub fn current(&self) -> Arc<CredentialSet> {
        Arc::clone(&self.current.load().set)
    }

    /// Begins to run with the set in force, after an update that waits.
    pub async fn enter(&self) -> Entered {
        loop {
            let in_force = || Arc::clone(&self.current.load().running);
            let running = if let Ok(running) = in_force().try_read_owned() {
                running
            } else {
                in_force().read_owned().await
            };
            let entered = OwnedRwLockReadGuard::rwlock(&running);
            if Arc::ptr_eq(entered, &self.current.load().running) {
                return Entered {
                    narrowed: None,
                    running,
                };
            }
        }
    }

    /// Puts `set` in force once the requests of the term that ends have finished, or the time for
    /// that is over. Those of earlier terms have been waited for.
    ///
    /// # Errors
    /// [`Abandoned`], with the old set still in force, when `wanted` gives false at the last
    /// moment.
    pub async fn replace(
        &self,
        set: CredentialSet,
        wanted: impl Fn() -> bool,
    ) -> Result<(), Abandoned> {
        let limit = match self.update {
            Update::Immediate => Duration::ZERO,
            Update::Drain(limit) => limit,
        };
        let deadline = Instant::now() + limit;
        // An update that came before has an earlier deadline.
        let _turn = self.turn.lock().await;
        let term = self.current.load_full();
        // The place in the queue is kept until the set has changed, also when time runs out:
        // otherwise a waiting request could slip by with the old one.
        let drained = term.running.write();
        tokio::pin!(drained);
        let drained = tokio::select! {
            biased;
            drained = &mut drained => Some(drained),
            () = sleep_until(deadline), if !limit.is_zero() => None,
            () = std::future::ready(()), if limit.is_zero() => None,
        };
        if !wanted() {
            return Err(Abandoned);
        }
        self.current.store(Arc::new(Term::of(set)));
        drop(drained);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use taskcluster_proxy_hawk::Credentials;

    use super::*;
    use crate::message::names::PERM_CLIENT_ID;
    use crate::signing::credentials::Build;

    fn set(client_id: &str) -> CredentialSet {
        let credentials = Credentials::new(client_id, "token", None).unwrap();
        let build = Build {
            version: HeaderValue::from_static("1.2.3"),
            revision: HeaderValue::from_static("abc"),
        };
        CredentialSet::new(&credentials, None, build, Arc::default())
    }

    fn client(entered: &Entered) -> String {
        let mut headers = HeaderMap::new();
        entered.set().name_in(&mut headers, None);
        headers[PERM_CLIENT_ID].to_str().unwrap().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_waits_for_running_requests_and_is_waited_for() {
        let in_force = InForce::new(set("old"), Update::Drain(Duration::from_secs(30)));
        let running = in_force.enter().await;
        let update = in_force.replace(set("new"), || true);
        tokio::pin!(update);
        assert!(futures_poll(update.as_mut()).await.is_none());
        let waiting = in_force.enter();
        tokio::pin!(waiting);
        assert!(futures_poll(waiting.as_mut()).await.is_none());
        assert_eq!(client(&running), "old");
        drop(running);
        assert_eq!(update.await, Ok(()));
        assert_eq!(client(&waiting.await), "new");
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_waits_no_longer_than_its_time() {
        let in_force = InForce::new(set("old"), Update::Drain(Duration::from_secs(30)));
        let running = in_force.enter().await;
        assert_eq!(in_force.replace(set("new"), || true).await, Ok(()));
        assert_eq!(client(&running), "old");
        assert_eq!(client(&in_force.enter().await), "new");
        let immediate = InForce::new(set("old"), Update::Immediate);
        let _running = immediate.enter().await;
        let update = immediate.replace(set("new"), || true);
        tokio::pin!(update);
        assert_eq!(futures_poll(update.as_mut()).await, Some(Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_waited_for_by_one_update_only() {
        let limit = Duration::from_secs(30);
        let in_force = InForce::new(set("old"), Update::Drain(limit));
        let live_log = in_force.enter().await;
        let began = Instant::now();
        let first = in_force.replace(set("first"), || true);
        let second = in_force.replace(set("second"), || true);
        assert_eq!(tokio::join!(first, second), (Ok(()), Ok(())));
        assert_eq!(began.elapsed().as_secs(), limit.as_secs());
        let third = in_force.replace(set("third"), || true);
        tokio::pin!(third);
        assert_eq!(futures_poll(third.as_mut()).await, Some(Ok(())));
        assert_eq!(client(&live_log), "old");
        assert_eq!(client(&in_force.enter().await), "third");
    }

    #[tokio::test]
    async fn an_update_that_is_not_wanted_any_more_changes_nothing() {
        let in_force = InForce::new(set("old"), Update::Drain(Duration::from_secs(30)));
        assert_eq!(in_force.replace(set("new"), || false).await, Err(Abandoned));
        assert_eq!(client(&in_force.enter().await), "old");
    }

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match future.as_mut().poll(cx) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
