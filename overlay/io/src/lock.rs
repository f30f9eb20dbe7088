//! Locks whose holders leave what they guard in order even when they panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Nothing that panics runs under these locks, so a poisoned one is as good as any.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
