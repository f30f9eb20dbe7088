//! Locks: held for a look or for a step, and never across an act.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A lock that is held. That it is not held for too long shows where [`hold_nothing`] is called.
pub(crate) struct Locked<'a, T>(Option<MutexGuard<'a, T>>);

/// As [`switch_core::lock`].
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> Locked<'_, T> {
    Locked::new(switch_core::lock(mutex))
}

/// Lets go of the lock until told.
pub(crate) fn wait<'a, T>(told: &Condvar, mut locked: Locked<'a, T>) -> Locked<'a, T> {
    locked.0 = locked
        .0
        .take()
        .map(|guard| told.wait(guard).unwrap_or_else(PoisonError::into_inner));
    locked
}

/// The same, for no longer than `patience`.
pub(crate) fn wait_for<'a, T>(
    told: &Condvar,
    mut locked: Locked<'a, T>,
    patience: Duration,
) -> Locked<'a, T> {
    locked.0 = locked.0.take().map(|guard| {
        let waited = told.wait_timeout(guard, patience);
        waited.unwrap_or_else(PoisonError::into_inner).0
    });
    locked
}

/// To be called where an act begins or something slow is waited for.
///
/// # Panics
///
/// Where the thread holds a lock: everybody who only looks would wait for the act.
pub(crate) fn hold_nothing() {
    let held = HELD.get();
    assert!(held == 0, "{held} locks are held across an act");
}

impl<'a, T> Locked<'a, T> {
    fn new(guard: MutexGuard<'a, T>) -> Self {
        HELD.set(HELD.get() + 1);
        Self(Some(guard))
    }
}

impl<T> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
    }
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(guard) => guard,
            // It is taken out only within `wait`, which puts it back.
            None => unreachable!("a lock is looked through while it is let go of"),
        }
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(guard) => guard,
            None => unreachable!("a lock is looked through while it is let go of"),
        }
    }
}

thread_local! {
    /// Locks that the thread holds now.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_begins_where_nothing_is_held() {
        let table = Mutex::new(0);
        *lock(&table) += 1;
        hold_nothing();
        let caught = std::thread::scope(|scope| {
            let acting = scope.spawn(|| {
                let _held = lock(&table);
                hold_nothing();
            });
            acting.join()
        });
        assert!(caught.is_err());
        assert_eq!(*lock(&table), 1);
        hold_nothing();
    }
}
