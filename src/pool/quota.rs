//! A resizable semaphore: permits for a limited number of calls.
//!
//! Owns the permits and a fair queue for them. The number of permits can shrink while they are
//! taken. It must never revoke a permit: while more are taken than wanted, a permit that comes back
//! is not handed out again.

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Quota {
    places: Arc<Semaphore>,
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    wanted: usize,
    /// The number of taken permits beyond `wanted`.
    debt: usize,
}

/// One permit, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    quota: Arc<Quota>,
}

impl Quota {
    pub(crate) fn new(wanted: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(wanted)),
            size: Mutex::new(Size { wanted, debt: 0 }),
        })
    }

    pub(crate) fn resize(&self, wanted: usize) {
        let mut size = self.size.lock();
        if wanted < size.wanted {
            let fewer = size.wanted - wanted;
            size.debt += fewer - self.places.forget_permits(fewer);
        } else {
            let more = wanted - size.wanted;
            let forgiven = more.min(size.debt);
            size.debt -= forgiven;
            self.places.add_permits(more - forgiven);
        }
        size.wanted = wanted;
    }

    /// The wanted number of permits.
    pub(crate) fn size(&self) -> usize {
        self.size.lock().wanted
    }

    pub(crate) fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// Waits for a permit. `None` if the quota is closed.
    ///
    /// # Cancel safety
    ///
    /// Safe: if the future is dropped, its place in the semaphore's queue goes to the next call.
    pub(crate) async fn place(self: &Arc<Self>) -> Option<Place> {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        Some(Place {
            permit: Some(permit),
            quota: Arc::clone(self),
        })
    }

    /// Waiting calls, and all later ones, get `None`.
    pub(crate) fn close(&self) {
        self.places.close();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut size = self.quota.size.lock();
        if size.debt > 0
            && let Some(permit) = self.permit.take()
        {
            size.debt -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_place_that_comes_back_while_too_many_are_taken_is_not_handed_out_again() {
        let quota = Quota::new(4);
        let take = || quota.place().now_or_never().flatten();
        let mut taken: Vec<_> = (0..4).map(|_| take().unwrap()).collect();
        quota.resize(2);
        for (left, is_free) in [(3, false), (2, false), (1, true)] {
            taken.pop();
            assert_eq!(taken.len(), left);
            let next = take();
            assert_eq!(next.is_some(), is_free, "{left}");
            drop(next);
        }
        quota.resize(3);
        taken.extend([take().unwrap(), take().unwrap()]);
        assert!(take().is_none() && quota.is_full());
        quota.resize(1);
        quota.resize(3);
        assert!(take().is_none(), "no more than three are taken at once");
        taken.pop();
        assert!(take().is_some());
    }
}
