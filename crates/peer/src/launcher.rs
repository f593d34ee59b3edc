//! The process that started this one, and how to wait for its end of any kind.
//!
//! What it is not: it ends nothing. The wait is the system's own (a pidfd, a kqueue, a process
//! handle), so that it costs nothing until it is over. `PR_SET_PDEATHSIG` would not do: it fires
//! when the *thread* that started this process ends, and Go and Java let threads end.

use std::io;

/// What became of the process that started this one.
#[derive(Debug)]
pub enum Launcher {
    /// It runs and can be waited for.
    Running(Watch),
    /// It has ended, and another process has adopted this one.
    Ended,
    /// It is the init of this machine or container, or it is in another pid namespace: it does not
    /// end before this process, or its end cannot be seen. Where init may also have adopted this
    /// process, the answer is [`Launcher::Ended`].
    Init,
}

/// A running process, to wait for its end. It is not a process id, which another process may get
/// afterwards.
#[derive(Debug)]
pub struct Watch(platform::Watch);

impl Launcher {
    /// Looks for the process that started this one. `id` is the id of the parent as this process
    /// read it earlier. The earlier that was, the fewer ends are missed.
    ///
    /// # Errors
    /// Where the system does not let it be watched.
    pub fn find(id: u32) -> io::Result<Launcher> {
        platform::find(id)
    }
}

impl Watch {
    /// Blocks until the process has ended. An error of the system ends the wait, too.
    pub fn wait(&self) {
        self.0.wait();
    }
}

#[cfg(unix)]
mod platform {
    use std::os::fd::OwnedFd;
    use std::time::Duration;
    use std::{env, io, thread};

    use super::{Launcher, Watch as Public};

    /// The time between two questions where the system gives nothing to wait on.
    const PAUSE: Duration = Duration::from_millis(100);

    #[derive(Debug)]
    pub(super) enum Watch {
        Descriptor(OwnedFd),
        /// Where the system gives no descriptor (Linux before 5.3, a sandbox that knows no newer
        /// calls), this process asks again and again for its parent, which changes when the parent
        /// ends.
        Parent(libc::pid_t),
    }

    #[allow(clippy::unnecessary_wraps, reason = "the signature of every platform")]
    pub(super) fn find(id: u32) -> io::Result<Launcher> {
        let Some(parent) = libc::pid_t::try_from(id).ok().filter(|id| *id > 0) else {
            return Ok(Launcher::Init);
        };
        if is_adopted(parent) {
            return Ok(Launcher::Ended);
        }
        if parent == INIT {
            return Ok(if can_be_of_init() {
                Launcher::Init
            } else {
                Launcher::Ended
            });
        }
        let watch = match descriptor(parent) {
            Ok(descriptor) => Watch::Descriptor(descriptor),
            Err(_) => Watch::Parent(parent),
        };
        // The opened process may be another one with that id, unless the parent is still the same.
        if self::parent() == parent {
            Ok(Launcher::Running(Public(watch)))
        } else {
            Ok(Launcher::Ended)
        }
    }

    const INIT: libc::pid_t = 1;

    fn parent() -> libc::pid_t {
        // SAFETY: getppid has no preconditions and does not fail.
        unsafe { libc::getppid() }
    }

    /// Whether `parent` cannot be the process that started this one. A process begins in the
    /// session of the process that starts it, and leaves it only to lead one of its own. A process
    /// that adopts it, such as init, is in another session.
    fn is_adopted(parent: libc::pid_t) -> bool {
        // SAFETY: getpid and getsid take integers alone.
        let (own, session, of_parent) =
            unsafe { (libc::getpid(), libc::getsid(0), libc::getsid(parent)) };
        of_parent != -1 && session != of_parent && session != own
    }

    /// systemd names the process that it starts (systemd.exec(5)).
    const STARTED_BY_SYSTEMD: &str = "SYSTEMD_EXEC_PID";

    /// Whether init, the parent of this process, can have started it. If the launcher ended before
    /// this look, init is the parent, too; so a doubtful case counts as adopted.
    fn can_be_of_init() -> bool {
        // SAFETY: getpid, getsid and getpgid take integers alone.
        let (own, session, group) = unsafe { (libc::getpid(), libc::getsid(0), libc::getpgid(0)) };
        if session == own {
            return env::var(STARTED_BY_SYSTEMD).is_ok_and(|pid| pid == own.to_string());
        }
        // In init's own session, as in a container: init has started the group's leader, unless the
        // leader has ended.
        group == own || group == 0 || exists(group)
    }

    fn exists(process: libc::pid_t) -> bool {
        // SAFETY: kill takes integers alone, and signal 0 is sent to nothing.
        let found = unsafe { libc::kill(process, 0) };
        found == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
    }

    impl Watch {
        pub(super) fn wait(&self) {
            match self {
                Watch::Descriptor(descriptor) => wait_for(descriptor),
                Watch::Parent(id) => {
                    while parent() == *id {
                        thread::sleep(PAUSE);
                    }
                }
            }
        }
    }

    /// A pidfd, which names this process even after its id belongs to another.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn descriptor(id: libc::pid_t) -> io::Result<OwnedFd> {
        use std::os::fd::FromRawFd;

        // SAFETY: pidfd_open takes integers alone.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
        let descriptor = i32::try_from(descriptor).unwrap_or(-1);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above opened it, and nothing else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }

    /// A pidfd is readable once its process has ended, every thread of it.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn wait_for(descriptor: &OwnedFd) {
        use std::os::fd::AsRawFd;

        let mut poll = libc::pollfd {
            fd: descriptor.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        loop {
            // SAFETY: one whole pollfd, which outlives the call.
            let ready = unsafe { libc::poll(&raw mut poll, 1, -1) };
            if ready != -1 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return;
            }
        }
    }

    #[cfg(any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "openbsd"
    ))]
    mod kqueue {
        use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
        use std::{io, ptr};

        /// A queue that tells of this process's end; it is found by its id here and no later.
        pub(super) fn descriptor(id: libc::pid_t) -> io::Result<OwnedFd> {
            // SAFETY: kqueue takes nothing.
            let queue = unsafe { libc::kqueue() };
            if queue == -1 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the call above opened it, and nothing else has it.
            let queue = unsafe { OwnedFd::from_raw_fd(queue) };
            // SAFETY: all zeroes is a value of kevent: numbers and a null pointer.
            let mut event: libc::kevent = unsafe { std::mem::zeroed() };
            event.ident = usize::try_from(id).unwrap_or(0);
            event.filter = libc::EVFILT_PROC;
            event.flags = libc::EV_ADD;
            event.fflags = libc::NOTE_EXIT;
            // SAFETY: one whole change to read, and no place for events.
            let added = unsafe {
                libc::kevent(
                    queue.as_raw_fd(),
                    &raw const event,
                    1,
                    ptr::null_mut(),
                    0,
                    ptr::null(),
                )
            };
            if added == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(queue)
        }

        pub(super) fn wait_for(queue: &OwnedFd) {
            loop {
                // SAFETY: all zeroes is a value of kevent: numbers and a null pointer.
                let mut event: libc::kevent = unsafe { std::mem::zeroed() };
                // SAFETY: no changes, one place for an event, and no time limit.
                let came = unsafe {
                    libc::kevent(
                        queue.as_raw_fd(),
                        ptr::null(),
                        0,
                        &raw mut event,
                        1,
                        ptr::null(),
                    )
                };
                if came != -1 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                    return;
                }
            }
        }
    }
    #[cfg(any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "openbsd"
    ))]
    use kqueue::{descriptor, wait_for};

    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "openbsd"
    )))]
    fn descriptor(_: libc::pid_t) -> io::Result<OwnedFd> {
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    }

    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "openbsd"
    )))]
    fn wait_for(_: &OwnedFd) {}
}

#[cfg(windows)]
mod platform {
    use std::io;

    use windows_sys::Win32::Foundation::ERROR_INVALID_PARAMETER;
    use windows_sys::Win32::System::Threading::{
        PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
    };

    use super::{Launcher, Watch as Public};
    use crate::windows::{Process, began_this};

    #[derive(Debug)]
    pub(super) struct Watch(Process);

    /// Here a process keeps its parent's id when that has ended, and the id may be another's by
    /// now: one that began later than this process did not start it.
    pub(super) fn find(id: u32) -> io::Result<Launcher> {
        if id == 0 {
            return Ok(Launcher::Init);
        }
        match Process::open(id, PROCESS_SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION) {
            Ok(process) if process.began()? > began_this()? => Ok(Launcher::Ended),
            Ok(process) => Ok(Launcher::Running(Public(Watch(process)))),
            Err(error) if error.raw_os_error() == Some(ERROR_INVALID_PARAMETER.cast_signed()) => {
                Ok(Launcher::Ended)
            }
            Err(error) => Err(error),
        }
    }

    impl Watch {
        pub(super) fn wait(&self) {
            self.0.wait();
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::parent_id;

    use super::*;

    #[test]
    fn the_test_runner_runs() {
        let found = Launcher::find(parent_id()).expect("a parent");
        assert!(
            matches!(found, Launcher::Running(_) | Launcher::Init),
            "{found:?}"
        );
    }

    #[test]
    fn another_process_than_the_parent_has_ended() {
        let mut other = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("a process");
        let found = Launcher::find(other.id()).expect("an answer");
        assert!(matches!(found, Launcher::Ended), "{found:?}");
        other.kill().expect("a child");
        other.wait().expect("a child");
        let found = Launcher::find(other.id()).expect("an answer");
        assert!(matches!(found, Launcher::Ended), "{found:?}");
    }

    #[test]
    fn without_a_descriptor_the_parent_is_asked_for() {
        let one_that_is_not = i32::try_from(std::process::id()).expect("an id");
        platform::Watch::Parent(one_that_is_not).wait();
    }

    #[test]
    fn what_is_in_no_namespace_of_ours_is_not_watched() {
        assert!(matches!(Launcher::find(0), Ok(Launcher::Init)));
    }
}
