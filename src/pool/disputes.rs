//! Reasons why a pod that should take the writes must not take them for now.
//!
//! A checkout for writes checks them before and after it waits. A checked-out read-write session
//! checks them before each statement outside a transaction. Without a dispute, a check costs one
//! atomic load.
//!
//! Owns the reasons for a dispute. It must never end a transaction that has begun: the pod was the
//! primary at the BEGIN, and refusing the COMMIT would only lose the transaction.

use crate::error::{ConnectError, Error, PodId};
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Disputes {
    reasons: Mutex<Reasons>,
    /// Whether there is any reason.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Reasons {
    /// DNS lists another address for the same ordinal.
    contested: bool,
    /// Another pod that is writable at the same time.
    rival: Option<PodId>,
    /// For the whole grace period, DNS has listed the pod at another address and not at this one.
    replaced: bool,
}

impl Disputes {
    fn reasons(&self) -> MutexGuard<'_, Reasons> {
        self.reasons.lock()
    }

    fn change(&self, change: impl FnOnce(&mut Reasons)) {
        let mut reasons = self.reasons();
        change(&mut reasons);
        let any = reasons.contested || reasons.rival.is_some() || reasons.replaced;
        self.any.store(any, Ordering::Release);
    }

    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Whether DNS lists another address for the same ordinal. No writes until only one is left.
    pub(crate) fn is_contested(&self) -> bool {
        self.any() && self.reasons().contested
    }

    pub(crate) fn set_contested(&self, contested: bool) {
        self.change(|reasons| reasons.contested = contested);
    }

    /// Another pod that is writable at the same time. No writes until only one is left.
    pub(crate) fn rival(&self) -> Option<PodId> {
        self.reasons().rival.clone()
    }

    pub(crate) fn set_rival(&self, rival: Option<PodId>) {
        self.change(|reasons| reasons.rival = rival);
    }

    /// Notes that the pod has moved to another address, confirmed or not.
    pub(crate) fn set_replaced(&self) {
        self.change(|reasons| reasons.replaced = true);
    }

    /// Fails if a checked-out read-write session of `pod` may run no further statement outside a
    /// transaction.
    pub(crate) fn check(&self, pod: &PodId) -> Result<(), Error> {
        if !self.any() {
            return Ok(());
        }
        let pod = pod.clone();
        let reasons = self.reasons();
        if reasons.replaced {
            return Err(Error::Superseded { pod });
        }
        let source = if reasons.contested {
            ConnectError::Contested { pod: pod.clone() }
        } else if let Some(other) = reasons.rival.clone() {
            let pod = pod.clone();
            ConnectError::TwoPrimaries { pod, other }
        } else {
            return Ok(());
        };
        Err(Error::Disputed { pod, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dispute_refuses_writes_until_it_is_settled() {
        let pod = PodId::new("mysql-0", ([10, 0, 0, 1], 3306).into());
        let other = PodId::new("mysql-1", ([10, 0, 0, 2], 3306).into());
        let disputes = Disputes::default();
        assert!(disputes.check(&pod).is_ok() && !disputes.any());

        disputes.set_contested(true);
        disputes.set_rival(Some(other.clone()));
        let source = |checked| match checked {
            Err(Error::Disputed { source, .. }) => source,
            other => panic!("{other:?}"),
        };
        let contested = source(disputes.check(&pod));
        assert!(matches!(contested, ConnectError::Contested { .. }));
        disputes.set_contested(false);
        let rival = source(disputes.check(&pod));
        assert!(matches!(rival, ConnectError::TwoPrimaries { other: o, .. } if o == other));
        disputes.set_rival(None);
        assert!(disputes.check(&pod).is_ok() && !disputes.any());

        disputes.set_replaced();
        let replaced = disputes.check(&pod);
        assert!(matches!(replaced, Err(Error::Superseded { .. })));
    }
}
