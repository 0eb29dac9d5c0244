//! Running the server: from its options to its end.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::events::stopped;
use crate::options::{Options, OptionsError, beside};
use crate::runner_process::RunnerProcess;
use crate::{AppState, build_router, system_clock};

/// Leases are looked at this often.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(3);
/// Requests in progress may take this long once the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the server did not start, or did not stop in good order.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The options contradict each other.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The database cannot be opened.
    #[error("--db: {0}")]
    Store(#[from] StoreError),
    /// Another program listens there.
    #[error("address {0} is in use; choose another with --listen, or stop the program that has it")]
    AddressInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The operating system failed.
    #[error("the server cannot go on: {0}")]
    Io(#[from] io::Error),
}

/// Serves until the process is asked to stop (SIGINT, SIGTERM), then stops the runner, which gives its job
/// back, ends streams, and lets requests in progress finish. Prints `listening on http://ADDRESS` to standard
/// output when it is ready.
///
/// # Errors
/// Where it cannot start.
pub async fn serve(options: Options) -> Result<(), ServeError> {
    options.check()?;
    // The address first: a second server on one address must touch neither database nor token.
    let listener = listen(options.listen).await?;
    let address = listener.local_addr()?;
    let store = Store::open(&options.db).await?;
    let access = options.access()?;
    let runner_token = access.runner.clone();
    let state = AppState::new(store.clone(), access, system_clock());
    let url = format!("http://{}", reachable(address));
    let renewed = store.renew_leases(state.now()).await?;
    if renewed > 0 {
        tracing::info!(leases = renewed, "jobs are held by runners, which have time to come back");
    }

    // The first list need not wait for all lines of all cases.
    let warmed = store.clone();
    tokio::spawn(async move {
        if let Err(error) = warmed.warm_up().await {
            tracing::error!(error = &error as &dyn std::error::Error, "the cases could not be read");
        }
    });
    let expiry = tokio::spawn(expire_leases(state.clone()));
    let (stop_runner, runner_stops) = watch::channel(false);
    let runner: Option<JoinHandle<()>> = options.with_runner.as_ref().map(|program| {
        let process = RunnerProcess {
            program: program.clone(),
            server: url.clone(),
            token: runner_token,
            state_dir: beside(&options.db, "runner"),
            models_dir: options.models_dir.clone(),
        };
        tokio::spawn(process.supervise(runner_stops))
    });

    let stop = stop_requested()?;
    let mut out = io::stdout();
    writeln!(out, "listening on {url}")?;
    out.flush()?;
    tracing::info!(%address, db = %options.db.display(), version = env!("CARGO_PKG_VERSION"), "ready");

    let hub = state.hub.clone();
    let stopping = async move {
        stop.await;
        tracing::info!("stopping");
        // While requests are still answered, so that the runner can give its job back.
        stop_runner.send_replace(true);
        if let Some(runner) = runner {
            let _ = runner.await;
        }
        hub.stop();
    };
    let mut watch = state.hub.stopping();
    run(listener, build_router(state), stopping, stopped(&mut watch)).await?;

    expiry.abort();
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::AddressInUse(address),
        _ => ServeError::Listen { address, source },
    })
}

/// Serves until `stopping` is over, and at most [`DRAIN`] longer.
async fn run(
    listener: TcpListener,
    router: Router,
    stopping: impl Future<Output = ()> + Send + 'static,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    // A login is limited by the address that it comes from.
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(stopping);
    let serving = std::pin::pin!(serving.into_future());
    let drained = async {
        stop.await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = serving => ended,
        () = drained => {
            tracing::warn!("some requests did not end in time and are cut off");
            Ok(())
        }
    }
}

/// Where this machine reaches a listener: one on every address is reached on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

/// Ends when the process is asked to stop.
fn stop_requested() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Gives jobs whose runner is not heard of any more back to the queue.
async fn expire_leases(state: AppState) {
    let mut tick = interval(EXPIRY_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match state.store.expire_leases(state.now()).await {
            Ok(jobs) => jobs.into_iter().for_each(|job| state.hub.tell(job)),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "leases could not be looked at");
            }
        }
    }
}
