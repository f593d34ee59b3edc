//! Ends this process when its launcher has ended. `crates/peer` finds out when that is.

use std::thread;
use std::time::Duration;

use napi_derive::napi;
use taskcluster_proxy_peer::Launcher;

use crate::output;

const STDERR: u8 = 2;
const SENTENCE: &str = "taskcluster-proxy: the process that started it has ended, and it ends with \
     it: to keep it, write --outlive-parent, or leave --end-with-parent out\n";

/// How long this process waits until its last sentence is written, where stderr has room for it. Its
/// ports stay open until then. A busy machine may take long to run the thread that writes it.
const PATIENCE: Duration = Duration::from_millis(500);

/// The exit code of every failure but wrong usage.
const EXIT_CODE: i32 = 1;

/// See `endWithLauncher` in `ts/native.ts`.
#[napi]
pub fn end_with_launcher(launcher: u32) -> napi::Result<()> {
    match Launcher::find(launcher)? {
        Launcher::Init => {}
        Launcher::Ended => end(),
        Launcher::Running(launcher) => {
            let wait = move || {
                launcher.wait();
                end();
            };
            thread::Builder::new()
                .name("launcher".to_owned())
                .spawn(wait)?;
        }
    }
    Ok(())
}

/// Ends this process without `exit`, which runs registered handlers; they may wait for the thread
/// of JavaScript.
fn end() -> ! {
    if output::has_room(STDERR) {
        output::write(STDERR, SENTENCE.to_owned(), PATIENCE);
    }
    #[cfg(unix)]
    // SAFETY: takes an integer alone and does not come back.
    unsafe {
        libc::_exit(EXIT_CODE)
    }
    #[cfg(windows)]
    // SAFETY: the pseudo handle of this process, and an integer.
    unsafe {
        use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};
        TerminateProcess(GetCurrentProcess(), EXIT_CODE.cast_unsigned());
    }
    #[cfg(not(unix))]
    std::process::abort()
}
