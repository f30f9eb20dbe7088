//! Locks whose holders leave what they guard in order even when they panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`. A poisoned one is as good as any: whoever uses this changes what is behind it in single steps, each of which
/// leaves it whole.
#[inline]
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
