//! The budget of bodies that are kept.
//!
//! - Bodies that are kept take no more than the budget together, and one is let go only where its next
//!   block finds no room.
//! - When their requests have ended, all of the budget is there again.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use shuttle::future::block_on;
use shuttle::thread;

use crate::exchange::replay::{Replay, ReplayBudget};

/// The first block that is kept of a body of unknown length, and here the size of each chunk.
const BLOCK: usize = 4 * 1024;

/// Room for two bodies of two blocks, and for the first of a third.
const BUDGET: usize = 5;

struct Chunks {
    left: usize,
    announced: bool,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = self.left.checked_sub(1);
        Poll::Ready(left.map(|left| {
            self.left = left;
            Ok(Frame::data(Bytes::from_static(&[0; BLOCK])))
        }))
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced {
            SizeHint::with_exact((self.left * BLOCK) as u64)
        } else {
            SizeHint::default()
        }
    }
}

/// Three bodies, and room for two.
pub fn bodies_past_the_budget() {
    let budget = Arc::new(ReplayBudget::new((BUDGET * BLOCK) as u64));
    let blocks = Arc::new(AtomicUsize::new(0));
    let threads = [(); 3].map(|()| {
        let (budget, blocks) = (Arc::clone(&budget), Arc::clone(&blocks));
        thread::spawn(move || {
            let body = Chunks {
                left: 2,
                announced: false,
            };
            let replay = read(body, budget);
            let kept = 2 * usize::from(replay.is_kept());
            assert!(blocks.fetch_add(kept, SeqCst) + kept <= BUDGET);
            thread::yield_now();
            blocks.fetch_sub(kept, SeqCst);
            kept
        })
    });
    let kept = threads.map(|thread| thread.join().expect("no panic"));
    assert!(kept.iter().sum::<usize>() >= 4, "{kept:?}");
    let all = Chunks {
        left: BUDGET,
        announced: true,
    };
    assert!(read(all, budget).is_kept());
}

fn read(body: Chunks, budget: Arc<ReplayBudget>) -> Replay<Chunks> {
    let replay = Replay::new(body, u64::MAX, budget);
    let mut attempt = replay.attempt();
    block_on(async {
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut attempt).poll_frame(cx)).await {
            assert!(frame.expect("a body").is_data());
            shuttle::future::yield_now().await;
        }
    });
    replay
}
