//! What a replay promises, one test a promise.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::AtomicUsize as Count;
use std::task::Wake;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::*;

/// A client's body: what comes when, and what it announces.
struct Client {
    frames: mpsc::UnboundedReceiver<io::Result<Frame<Bytes>>>,
    next: VecDeque<io::Result<Frame<Bytes>>>,
    length: Option<u64>,
}

type Sender = mpsc::UnboundedSender<io::Result<Frame<Bytes>>>;

impl Body for Client {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(frame) = self.next.pop_front() {
            return Poll::Ready(Some(frame));
        }
        let frame = ready!(self.frames.poll_recv(cx));
        if let (Some(length), Some(Ok(frame))) = (&mut self.length, &frame) {
            *length -= frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn client(length: Option<u64>) -> (Sender, Client) {
    let (sender, frames) = mpsc::unbounded_channel();
    (
        sender,
        Client {
            frames,
            next: VecDeque::new(),
            length,
        },
    )
}

fn sized(text: &'static str) -> Client {
    let (sender, client) = client(Some(text.len() as u64));
    send(&sender, text);
    client
}

fn send(sender: &Sender, text: &'static str) {
    sender
        .send(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
        .expect("it is read");
}

fn budget() -> Arc<ReplayBudget> {
    Arc::new(ReplayBudget::new(1 << 20))
}

fn replay(source: Client) -> Replay<Client> {
    Replay::new(source, 1 << 16, budget())
}

fn some_trailers() -> HeaderMap {
    let name = HeaderName::from_static("x-sum");
    HeaderMap::from_iter([
        (name.clone(), HeaderValue::from_static("1")),
        (name, HeaderValue::from_static("2")),
    ])
}

/// All of an attempt.
async fn read(attempt: ReplayBody<Client>) -> Result<(String, Option<HeaderMap>), ReplayError> {
    let whole = attempt.collect().await?;
    let trailers = whole.trailers().cloned();
    let text = String::from_utf8(whole.to_bytes().to_vec()).expect("it is text");
    Ok((text, trailers))
}

/// The next frame's data, which has to be there.
async fn chunk(attempt: &mut ReplayBody<Client>) -> String {
    let frame = attempt.frame().await.expect("a frame").expect("no error");
    String::from_utf8(frame.into_data().expect("data").to_vec()).expect("it is text")
}

#[derive(Default)]
struct Woken(Count);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll(attempt: &mut ReplayBody<Client>, woken: &Arc<Woken>) -> Poll<Option<String>> {
    let waker = Waker::from(woken.clone());
    Pin::new(attempt)
        .poll_frame(&mut Context::from_waker(&waker))
        .map(|frame| {
            frame.map(|frame| match frame {
                Ok(frame) => format!("{:?}", frame.data_ref()),
                Err(error) => error.to_string(),
            })
        })
}

#[tokio::test]
async fn every_attempt_is_the_whole_body() {
    let replay = replay(sized("hello world"));
    for _ in 0..3 {
        assert!(replay.can_replay());
        let (text, trailers) = read(replay.attempt()).await.expect("no error");
        assert_eq!((text.as_str(), trailers), ("hello world", None));
        assert!(!replay.awaits_client());
    }
}

#[tokio::test]
async fn an_attempt_goes_on_where_the_one_before_stopped_reading() {
    let (sender, source) = client(None);
    let replay = replay(source);
    send(&sender, "hello");
    let mut first = replay.attempt();
    assert_eq!(chunk(&mut first).await, "hello");
    drop(first);

    send(&sender, " world");
    let mut second = replay.attempt();
    assert_eq!(chunk(&mut second).await, "hello");
    assert_eq!(chunk(&mut second).await, " world");
    drop(second);

    send(&sender, ", again");
    drop(sender);
    let (text, _) = read(replay.attempt()).await.expect("no error");
    assert_eq!(text, "hello world, again");
}

#[tokio::test]
async fn trailers_are_replayed_with_their_repetitions() {
    for text in ["hello", ""] {
        let (sender, source) = client(None);
        let replay = replay(source);
        send(&sender, text);
        sender
            .send(Ok(Frame::trailers(some_trailers())))
            .expect("it is read");
        drop(sender);
        for _ in 0..3 {
            let (seen, trailers) = read(replay.attempt()).await.expect("no error");
            assert_eq!((seen.as_str(), trailers), (text, Some(some_trailers())));
        }
    }
}

#[tokio::test]
async fn framing_stays_as_it_was() {
    struct Case {
        length: Option<u64>,
        text: &'static str,
        exact: Option<u64>,
        empty: bool,
    }
    for Case {
        length,
        text,
        exact,
        empty,
    } in [
        Case {
            length: Some(5),
            text: "hello",
            exact: Some(5),
            empty: false,
        },
        Case {
            length: Some(0),
            text: "",
            exact: Some(0),
            empty: true,
        },
        // The body's end is known after the first attempt, but was not announced.
        Case {
            length: None,
            text: "hello",
            exact: None,
            empty: false,
        },
        Case {
            length: None,
            text: "",
            exact: None,
            empty: false,
        },
    ] {
        let (sender, source) = client(length);
        if !text.is_empty() {
            send(&sender, text);
        }
        drop(sender);
        let replay = replay(source);
        for _ in 0..3 {
            let attempt = replay.attempt();
            assert_eq!(attempt.size_hint().exact(), exact, "{text:?}");
            assert_eq!(attempt.is_end_stream(), empty, "{text:?}");
            assert_eq!(read(attempt).await.expect("no error").0, text);
        }
    }
}

#[tokio::test]
async fn the_end_shows_as_soon_as_it_is_known() {
    let replay = replay(sized("hello"));
    for _ in 0..2 {
        let mut attempt = replay.attempt();
        assert!(!attempt.is_end_stream());
        assert_eq!(chunk(&mut attempt).await, "hello");
        assert!(attempt.is_end_stream() && !replay.awaits_client());
        assert_eq!(attempt.size_hint().exact(), Some(0));
        assert!(attempt.frame().await.is_none());
    }
}

#[tokio::test]
async fn an_empty_body_is_empty_in_every_attempt() {
    let replay = Replay::new(http_body_util::Empty::<Bytes>::new(), 0, budget());
    for _ in 0..2 {
        let mut attempt = replay.attempt();
        assert!(attempt.is_end_stream());
        assert_eq!(attempt.size_hint().exact(), Some(0));
        assert!(attempt.frame().await.is_none());
        assert!(replay.can_replay());
    }
}

#[tokio::test]
async fn past_its_limit_a_body_streams_on_but_is_not_kept() {
    let budget = budget();
    let (sender, source) = client(None);
    let replay = Replay::new(source, 8, budget.clone());
    let mut attempt = replay.attempt();
    send(&sender, "12345678");
    assert_eq!(chunk(&mut attempt).await, "12345678");
    assert!(replay.can_replay() && budget.used() > 0);

    send(&sender, "9");
    assert_eq!(chunk(&mut attempt).await, "9");
    assert!(!replay.can_replay());
    assert_eq!(budget.used(), 0);

    send(&sender, "0");
    drop(sender);
    assert_eq!(read(attempt).await.expect("no error").0, "0");
    let error = read(replay.attempt()).await.expect_err("it is gone");
    assert!(matches!(error, ReplayError::NotKept), "{error:?}");
    assert!(!replay.source_failed());
}

#[tokio::test]
async fn past_the_budget_of_all_a_body_is_not_kept() {
    let budget = Arc::new(ReplayBudget::new(10));
    let one = Replay::new(sized("123456"), 100, budget.clone());
    let other = Replay::new(sized("12345"), 100, budget.clone());
    assert_eq!(read(one.attempt()).await.expect("no error").0, "123456");
    assert_eq!(read(other.attempt()).await.expect("no error").0, "12345");
    assert!(one.can_replay() && !other.can_replay());
    assert_eq!(budget.used(), 6);
    drop(one);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_body_announced_too_long_is_sent_again_only_untouched() {
    let budget = budget();
    let (sender, source) = client(Some(9));
    send(&sender, "1234");
    let replay = Replay::new(source, 8, budget.clone());
    assert!(replay.can_replay());
    let untouched = replay.attempt();
    assert!(replay.can_replay());
    drop(untouched);
    let mut attempt = replay.attempt();
    assert_eq!(chunk(&mut attempt).await, "1234");
    assert!(!replay.can_replay());
    assert_eq!(budget.used(), 0, "not even what is under the limit");
}

#[tokio::test]
async fn nothing_is_kept_where_the_limit_is_zero() {
    let replay = Replay::new(sized("1"), 0, budget());
    assert_eq!(read(replay.attempt()).await.expect("no error").0, "1");
    assert!(!replay.can_replay());
}

#[tokio::test]
async fn trailers_count_towards_the_limit() {
    let budget = budget();
    let (sender, source) = client(None);
    let replay = Replay::new(source, 100, budget.clone());
    sender
        .send(Ok(Frame::trailers(some_trailers())))
        .expect("it is read");
    drop(sender);
    let (_, trailers) = read(replay.attempt()).await.expect("no error");
    assert_eq!(trailers, Some(some_trailers()));
    assert!(!replay.can_replay());
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn many_small_frames_share_blocks() {
    const FRAMES: usize = 100_000;
    let budget = budget();
    let (sender, source) = client(None);
    let replay = Replay::new(source, 1 << 20, budget.clone());
    let mut attempt = replay.attempt();
    for _ in 0..FRAMES {
        send(&sender, "abc");
        chunk(&mut attempt).await;
    }
    drop((sender, attempt));
    assert!((3 * FRAMES..3 * FRAMES + LARGEST_BLOCK).contains(&budget.used()));
    let mut again = replay.attempt();
    let mut blocks = 0;
    let mut bytes = 0;
    while let Some(frame) = again.frame().await {
        let data = frame.expect("no error").into_data().expect("data");
        assert!(data.len() <= LARGEST_BLOCK);
        bytes += data.len();
        blocks += 1;
    }
    assert_eq!(bytes, 3 * FRAMES);
    assert!(blocks <= 10, "{blocks}");
}

#[tokio::test]
async fn a_body_of_known_length_takes_what_it_needs() {
    let budget = budget();
    let replay = Replay::new(sized("hello"), 100, budget.clone());
    read(replay.attempt()).await.expect("no error");
    assert_eq!(budget.used(), 5);
}

#[tokio::test]
async fn a_client_that_fails_is_told_from_an_upstream_that_does() {
    let (sender, source) = client(Some(10));
    let replay = replay(source);
    send(&sender, "hello");
    sender
        .send(Err(io::ErrorKind::ConnectionReset.into()))
        .expect("it is read");
    let mut attempt = replay.attempt();
    assert_eq!(chunk(&mut attempt).await, "hello");
    assert!(replay.can_replay() && !replay.source_failed());
    let error = attempt
        .frame()
        .await
        .expect("an end")
        .expect_err("an error");
    assert!(matches!(error, ReplayError::Source(Some(_))), "{error:?}");
    assert_eq!(error.to_string(), "the client's request body ended early");
    assert!(replay.source_failed() && !replay.can_replay());
}

#[tokio::test]
async fn an_older_attempt_takes_nothing_from_a_newer_one() {
    let (sender, source) = client(None);
    let replay = replay(source);
    let mut older = replay.attempt();
    let woken = Arc::new(Woken::default());
    assert!(poll(&mut older, &woken).is_pending());

    let newer = replay.attempt();
    assert_eq!(
        woken.0.load(Ordering::Relaxed),
        1,
        "it waits no longer for the client"
    );
    send(&sender, "hello");
    drop(sender);
    let end = "this try of the request is over".to_owned();
    assert_eq!(poll(&mut older, &woken), Poll::Ready(Some(end)));
    assert_eq!(poll(&mut older, &woken), Poll::Ready(None));
    assert_eq!(read(newer).await.expect("no error").0, "hello");
}

#[tokio::test]
async fn a_held_attempt_reads_nothing_until_it_is_released() {
    let replay = replay(sized("hello"));
    let hold = Hold::default();
    let mut attempt = replay.attempt_held(hold.clone());
    let woken = Arc::new(Woken::default());
    assert!(poll(&mut attempt, &woken).is_pending());
    assert!(replay.can_replay());
    assert_eq!(attempt.size_hint().exact(), Some(5));
    hold.release();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(read(attempt).await.expect("no error").0, "hello");
}

#[tokio::test]
async fn a_held_attempt_ends_when_a_newer_one_begins() {
    let replay = replay(sized("hello"));
    let mut attempt = replay.attempt_held(Hold::default());
    let woken = Arc::new(Woken::default());
    assert!(poll(&mut attempt, &woken).is_pending());
    let newer = replay.attempt();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(poll(&mut attempt, &woken).is_ready());
    assert_eq!(read(newer).await.expect("no error").0, "hello");
}

#[tokio::test]
async fn the_last_attempt_ends_where_its_answer_needs_no_more_of_the_body() {
    for hold in [None, Some(Hold::default())] {
        let (_sender, source) = client(None);
        let replay = replay(source);
        let mut attempt = replay.begin(hold.clone());
        let woken = Arc::new(Woken::default());
        assert!(poll(&mut attempt, &woken).is_pending());
        let rest = replay.into_rest().expect("the body has not ended");
        assert_eq!(rest.is_held(), hold.is_some());
        assert!(rest.end().is_some());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        let end = "this try of the request is over".to_owned();
        assert_eq!(poll(&mut attempt, &woken), Poll::Ready(Some(end)));
    }
}

#[tokio::test]
async fn the_rest_of_a_body_behind_its_answer_is_handed_on() {
    for is_whole in [false, true] {
        let (sender, source) = client(None);
        let replay = replay(source);
        let mut attempt = replay.attempt();
        let rests = Rc::new(RefCell::new(0));
        let rest = replay.into_rest().expect("the body has not ended");
        let on_rest = Rc::clone(&rests);
        rest.leave_to(move |_| *on_rest.borrow_mut() += 1);
        drop(rest);
        send(&sender, "hello");
        assert_eq!(chunk(&mut attempt).await, "hello");
        assert_eq!(Rc::strong_count(&rests), 2);
        if is_whole {
            drop(sender);
            assert!(attempt.frame().await.is_none());
        }
        drop(attempt);
        assert_eq!(*rests.borrow(), u32::from(!is_whole));
        assert_eq!(Rc::strong_count(&rests), 1);
    }
}

#[tokio::test]
async fn a_body_that_has_come_whole_has_no_rest() {
    let replay = replay(sized("hello"));
    read(replay.attempt()).await.expect("no error");
    assert!(replay.into_rest().is_none());
}

#[tokio::test]
async fn a_client_that_ends_a_refused_body_early_disturbs_nothing() {
    for refused in [false, true] {
        let (sender, source) = client(None);
        let replay = replay(source);
        let mut attempt = replay.attempt();
        let rest = replay.into_rest().expect("the body has not ended");
        if refused {
            rest.refuse();
        }
        sender
            .send(Err(io::ErrorKind::UnexpectedEof.into()))
            .expect("it is read");
        let woken = Arc::new(Woken::default());
        assert_eq!(poll(&mut attempt, &woken).is_pending(), refused);
        rest.end();
        assert!(poll(&mut attempt, &woken).is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn progress_is_what_is_given_out() {
    let (sender, source) = client(None);
    let replay = replay(source);
    let start = replay.last_progress();
    let mut attempt = replay.attempt();
    let woken = Arc::new(Woken::default());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(poll(&mut attempt, &woken).is_pending());
    assert_eq!(replay.last_progress(), start);

    tokio::time::advance(Duration::from_secs(1)).await;
    send(&sender, "hello");
    chunk(&mut attempt).await;
    assert_eq!(replay.last_progress(), start + Duration::from_secs(2));

    tokio::time::advance(Duration::from_secs(1)).await;
    drop(sender);
    assert!(attempt.frame().await.is_none());
    assert!(!replay.awaits_client());
    assert_eq!(replay.last_progress(), start + Duration::from_secs(3));
}
