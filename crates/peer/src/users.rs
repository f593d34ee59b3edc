//! Users of the operating system: by name, this process's own, and root.

#[cfg(target_os = "linux")]
pub(crate) use self::unix::overflow_user;
#[cfg(unix)]
pub use self::unix::{UserId, is_root, own_user, user_id};
#[cfg(windows)]
pub use crate::windows::{UserId, is_root, own_user, user_id};

/// Why [`user_id`] finds no user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Neither a user's name nor a number.
    #[error("there is no user \"{0}\" on this machine: give the name of an existing one")]
    Unknown(String),
    /// The user that stands for all users who are not mapped into a user namespace.
    #[error(
        "user \"{0}\" stands for all users that a user namespace does not map, so it cannot be \
         allowed: run the task as a user of its own"
    )]
    Overflow(String),
    /// The user database did not answer.
    #[error("the user database cannot be asked for \"{0}\": {1}")]
    Database(String, std::io::Error),
}

#[cfg(unix)]
mod unix {
    use std::ffi::CString;
    use std::{fmt, io, ptr};

    use super::UserError;

    /// A user: the uid on Unix, the SID on Windows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct UserId(u32);

    impl UserId {
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        pub(crate) fn from_raw(uid: u32) -> UserId {
            UserId(uid)
        }
    }

    impl fmt::Display for UserId {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "uid {}", self.0)
        }
    }

    /// The user of that name, or of that decimal uid where no user has such a name.
    ///
    /// # Errors
    /// No user has that name, the database does not answer, or it is the user namespace's overflow
    /// user (`nobody`).
    pub fn user_id(name: &str) -> Result<UserId, UserError> {
        let uid = match uid_by_name(name)? {
            Some(uid) => uid,
            None => uid_by_number(name).ok_or_else(|| UserError::Unknown(name.to_owned()))?,
        };
        if uid == overflow_user() {
            return Err(UserError::Overflow(name.to_owned()));
        }
        Ok(UserId(uid))
    }

    /// The user this process acts as.
    pub fn own_user() -> UserId {
        // SAFETY: geteuid has no preconditions and does not fail.
        UserId(unsafe { libc::geteuid() })
    }

    /// Whether `user` is root (on Windows: SYSTEM).
    pub fn is_root(user: &UserId) -> bool {
        user.0 == 0
    }

    /// The uid that the kernel reports for all users who are not mapped into this process's user
    /// namespace: 65534, unless an administrator has changed it.
    pub(crate) fn overflow_user() -> u32 {
        std::fs::read_to_string("/proc/sys/kernel/overflowuid")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(65534)
    }

    fn uid_by_number(text: &str) -> Option<u32> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // (uid_t)-1 is how system calls write "no user".
        text.parse().ok().filter(|&uid| digits && uid != u32::MAX)
    }

    fn uid_by_name(name: &str) -> Result<Option<u32>, UserError> {
        let Ok(c_name) = CString::new(name) else {
            return Ok(None);
        };
        let mut buffer = vec![0; 1024];
        loop {
            // SAFETY: all zeroes is a value of passwd: null pointers and numbers.
            let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
            let mut found: *mut libc::passwd = ptr::null_mut();
            // SAFETY: every pointer is valid for the call, and the length is the buffer's own.
            let error = unsafe {
                libc::getpwnam_r(
                    c_name.as_ptr(),
                    &raw mut entry,
                    buffer.as_mut_ptr(),
                    buffer.len(),
                    &raw mut found,
                )
            };
            match error {
                0 if found.is_null() => return Ok(None),
                0 => return Ok(Some(entry.pw_uid)),
                libc::ERANGE if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 2, 0),
                libc::EINTR => {}
                // How databases that are not there say "not found" (getpwnam_r(3)).
                libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
                _ => {
                    let error = io::Error::from_raw_os_error(error);
                    return Err(UserError::Database(name.to_owned(), error));
                }
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert!(is_root(&user_id("root").expect("root exists")));
        assert!(is_root(&user_id("0").expect("a number")));
        assert_eq!(user_id("4242").expect("a number").to_string(), "uid 4242");
        for name in [
            "",
            "no-such-user-here",
            "+1",
            "-1",
            "4294967295",
            "0x10",
            " 0",
            "ro\0ot",
        ] {
            assert!(
                matches!(user_id(name), Err(UserError::Unknown(_))),
                "{name:?}"
            );
        }
    }

    #[test]
    fn sentences() {
        assert_eq!(
            user_id("no-such-user-here")
                .expect_err("unknown")
                .to_string(),
            "there is no user \"no-such-user-here\" on this machine: give the name of an existing one"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_overflow_user_is_refused_by_name_and_by_number() {
        let number = overflow_user().to_string();
        assert!(matches!(user_id(&number), Err(UserError::Overflow(_))));
        if number == "65534" {
            let error = user_id("nobody").expect_err("the overflow user");
            assert_eq!(
                error.to_string(),
                "user \"nobody\" stands for all users that a user namespace does not map, so it \
                 cannot be allowed: run the task as a user of its own"
            );
        }
    }
}
