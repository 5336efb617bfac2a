//! Lend the devices of this machine to trainings on other machines.

use std::env;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use burn::server::{RemoteServer, ServeError, TokenAuthorizer, WebSocketTransport};
use clap::Parser;
use programs::command_line::parse;
use programs::{DeviceError, DeviceKind, WORKER_TOKEN as TOKEN, out_line};

/// Lend the devices of this machine to trainings on other machines.
///
/// A client opens `ws://ADDRESS` as a remote device of Burn, with the token of BURN_WORKER_TOKEN if that is set. The
/// connection is not encrypted: use it in a network that you trust, or through a tunnel. Ctrl-C ends the server.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The device, as in the features that the program was built with.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceKind,
    /// Address and port to listen on; any address but this machine's own requires a token. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7700")]
    bind: SocketAddr,
}

/// Why the worker does not serve.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        "--bind {0} can be reached from other machines, and {TOKEN} is not set: set it to a secret that clients know, or \
         bind 127.0.0.1 and use a tunnel"
    )]
    NoToken(SocketAddr),
    #[error("{TOKEN} is empty: set it to a secret that clients know, or unset it")]
    EmptyToken,
    #[error("{TOKEN} is not UTF-8")]
    Unreadable,
    #[error("cannot listen on {address}: {source}")]
    Bind {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("the server failed: {0}")]
    Serve(#[from] ServeError),
}

fn main() -> ExitCode {
    programs::command::end(serve(&parse()), 1)
}

fn serve(args: &Args) -> Result<(), Error> {
    let token = match env::var(TOKEN) {
        Ok(token) => Some(token),
        Err(env::VarError::NotPresent) => None,
        Err(env::VarError::NotUnicode(_)) => return Err(Error::Unreadable),
    };
    if token.is_none() && !args.bind.ip().is_loopback() {
        return Err(Error::NoToken(args.bind));
    }
    let mut server = RemoteServer::new([args.device.open()?.inner()]);
    if let Some(token) = token {
        let authorizer = TokenAuthorizer::new(token).map_err(|_| Error::EmptyToken)?;
        server = server.with_authorizer(authorizer);
    }
    let listener = TcpListener::bind(args.bind).map_err(|source| Error::Bind {
        address: args.bind,
        source,
    })?;
    // With port 0 the system chose one.
    let address = listener.local_addr().unwrap_or(args.bind);
    out_line!("{} on ws://{address}", args.device);
    server.serve(WebSocketTransport::from_listener(listener))?;
    Ok(())
}
