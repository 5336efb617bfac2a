//! Connections: how many, how long they may be silent, and how they end.

use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{Either, select};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::shared::Shared;
use super::{LAST_WORDS, routes};

/// The pause after a connection could not be accepted, for want of open files for example.
const PAUSE: Duration = Duration::from_millis(100);

/// Serve until `stop` is true, then until all requests have ended or were cut.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = routes::router(shared.clone());
    let mut http = http1::Builder::new();
    // Of a request, and of a connection that is kept for the next one.
    http.timer(TokioTimer::new())
        .header_read_timeout(shared.settings.arrival);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(shared.settings.connections));
    let mut stopped = stop.subscribe();
    // The sender lives as long as this function.
    let mut stopped = pin!(stopped.wait_for(|stop| *stop));
    loop {
        let next = pin!(async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        });
        let (place, accepted) = match select(stopped.as_mut(), next).await {
            Either::Left(_) => break,
            Either::Right((next, _)) => next,
        };
        let Ok((stream, _)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        // Pieces of an answer are small and must not wait for others.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A connection that breaks is the client's affair.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    shared.jobs.close();
    let limit = async {
        sleep(shared.settings.grace).await;
        shared.cut.store(true, Ordering::Relaxed);
        sleep(LAST_WORDS).await;
    };
    select(pin!(graceful.shutdown()), pin!(limit)).await;
    Ok(())
}
