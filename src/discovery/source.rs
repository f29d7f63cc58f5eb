//! The trait [`Resolve`]: a source of pods, such as DNS, a list or your own implementation.

use super::answer::Answer;
use super::error::ResolveError;
use super::transcript::Transcript;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use tokio::time::Instant;

/// The boxed future of [`Resolve`], which makes the trait usable as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A source of pods: DNS, a fixed list, or your own (an EndpointSlice watch, Consul, ...).
///
/// ```
/// use headless_mysql::discovery::{Answer, BoxFuture, FoundPod, Resolve, ResolveError};
/// use headless_mysql::name::Ordinal;
///
/// /// One server on this machine.
/// #[derive(Debug)]
/// struct Local;
///
/// impl Resolve for Local {
///     fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
///         let address = [127, 0, 0, 1].into();
///         let pod = FoundPod::new(Some(Ordinal::PRIMARY), "localhost", [address], 3306);
///         Box::pin(async move { Ok(Answer::new("local", [pod], None)) })
///     }
///
///     fn describe(&self) -> String {
///         "the local server".to_owned()
///     }
/// }
/// ```
pub trait Resolve: Send + Sync + fmt::Debug + 'static {
    /// Looks up the whole set of pods once, now.
    ///
    /// After an answer without pods, or after an error, the pods known so far stay. Return an error
    /// if the source cannot tell.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] if the source did not answer, or answered without pods.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped if it takes too long or its result is no longer needed. An
    /// implementation must tolerate that.
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>>;

    /// Like [`resolve`](Self::resolve), with an account for people of how the result came about.
    /// Costs more. The default implementation reports no more than the result.
    ///
    /// # Cancel safety
    ///
    /// As for [`resolve`](Self::resolve).
    fn explain(&self) -> BoxFuture<'_, (Result<Answer, ResolveError>, Transcript)> {
        Box::pin(async move {
            let began = Instant::now();
            let result = self.resolve().await;
            let transcript = Transcript::of_result(&result, began.elapsed());
            (result, transcript)
        })
    }

    /// What is looked up, for errors and events; for DNS the Service's name.
    fn describe(&self) -> String;
}
