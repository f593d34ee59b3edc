//! What is to be done with a request: by its page and `Host`, its route and its scopes.
//!
//! What it is not: it waits for nothing and answers nothing.

pub mod browser;
pub mod route;
pub mod scopes;
