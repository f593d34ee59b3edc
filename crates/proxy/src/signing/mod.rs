//! The credential set in force and the signatures that are made with it.

pub mod clock;
pub mod credentials;
pub mod in_force;
pub mod sign;
