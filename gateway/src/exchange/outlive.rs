//! Futures that end even when nobody waits for them any more.
//!
//! A plugin call goes on when its caller's connection is gone: its instance
//! would be lost otherwise, and a caller could make calls without end by
//! leaving (DESIGN §6). Its own deadline bounds it, and it counts at its
//! connection until it ends. Used by `authenticate` and `choose`.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::{Connection, Worker};

/// A future that is spawned on its worker when it is dropped before its end.
pub(super) struct Outlive<F: Future + 'static>
where
    F::Output: 'static,
{
    future: Option<Pin<Box<F>>>,
    polled: bool,
    worker: Rc<Worker>,
    connection: Rc<Connection>,
}

/// Wraps a future.
pub(super) fn outlive<F: Future + 'static>(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    future: F,
) -> Outlive<F> {
    Outlive {
        future: Some(Box::pin(future)),
        polled: false,
        worker: Rc::clone(worker),
        connection: Rc::clone(connection),
    }
}

impl<F: Future + 'static> Future for Outlive<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polled = true;
        let Some(future) = self.future.as_mut() else {
            return Poll::Pending;
        };
        let result = future.as_mut().poll(cx);
        if result.is_ready() {
            self.future = None;
        }
        result
    }
}

impl<F: Future + 'static> Drop for Outlive<F> {
    fn drop(&mut self) {
        // One that never ran holds nothing yet.
        if let Some(future) = self.future.take()
            && self.polled
            && !std::thread::panicking()
        {
            let connection = Rc::clone(&self.connection);
            connection.abandoned.set(connection.abandoned.get() + 1);
            self.worker.shared.tasks.spawn_local(async move {
                let _nobody_waits = future.await;
                connection.abandoned.set(connection.abandoned.get() - 1);
            });
        }
    }
}
