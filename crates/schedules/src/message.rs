//! A stand-in for messages.

pub mod strict_body {
    use std::marker::PhantomData;

    /// Names a body; the models have none.
    pub struct StrictBody<B>(PhantomData<B>);
}
