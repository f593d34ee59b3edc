//! What a connection may ask for, as admission found it.

/// Every admitted connection may also ask for the health endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Have requests signed.
    pub proxy: bool,
    /// `PUT /credentials`.
    pub update: bool,
    /// The connection has a place that is reserved for updates of the credentials.
    pub reserved: bool,
}

impl Rights {
    /// Where no user is checked.
    pub const ALL: Self = Self {
        proxy: true,
        update: true,
        reserved: false,
    };
}
