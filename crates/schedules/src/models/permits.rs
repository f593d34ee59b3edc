//! The permits of connections to upstreams.
//!
//! - There are never more connections than permits.
//! - A request without a permit gets one if others have idle connections, now or later.
//! - When all connections are closed, all permits are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use shuttle::future::block_on;
use shuttle::thread;
use tokio::sync::Semaphore;

use crate::exchange::upstream::Connections;
use crate::exchange::upstream::permits::Permits;

const THREADS: usize = 2;

/// Two threads, each with two requests at a time, and one connection for all of them.
pub fn one_connection_for_all() {
    run(1);
}

/// As many connections as threads: each may keep one that the other needs.
pub fn a_connection_for_each() {
    run(2);
}

fn run(number: usize) {
    let permits = Arc::new(Permits::new(number));
    let open = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(Semaphore::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let connections = Connections::new(Arc::clone(&permits));
            let (open, ended) = (Arc::clone(&open), Arc::clone(&ended));
            thread::spawn(move || {
                block_on(async {
                    let requests = async {
                        tokio::join!(
                            request(&connections, &open, number),
                            request(&connections, &open, number)
                        );
                        ended.add_permits(1);
                        let all = u32::try_from(THREADS).expect("a few");
                        ended.acquire_many(all).await.expect("not closed").forget();
                        ended.add_permits(THREADS);
                    };
                    tokio::select! {
                        biased;
                        () = connections.reap() => unreachable!("it goes on"),
                        () = requests => {}
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert!(block_on(Connections::new(permits).are_all_there(number)));
}

async fn request(connections: &Connections, open: &AtomicUsize, number: usize) {
    let connection = connections.take().await.expect("not stopping");
    assert!(open.fetch_add(1, SeqCst) < number, "too many connections");
    shuttle::future::yield_now().await;
    open.fetch_sub(1, SeqCst);
    connections.give_back(connection);
}
