//! The server's side of a handshake: bounded in time, and plain to who speaks HTTP by mistake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
pub use tokio_rustls::server::TlsStream;

/// What is said to a client that speaks HTTP where TLS is spoken.
const IN_CLEAR: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 34\r\n\
                        connection: close\r\n\r\nHTTPS is spoken here, and no HTTP\n";

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client took too long.
    #[error("it was not finished within {} ms", .0.as_millis())]
    Slow(Duration),
    /// It was told so.
    #[error("the client speaks HTTP in clear")]
    InClear,
    /// It only looked whether somebody listens.
    #[error("the client went away before it began")]
    Gone,
    /// One of the two did not like what the other showed.
    #[error(transparent)]
    Refused(#[from] io::Error),
}

/// Makes the handshake on a connection that was just accepted, within `limit`.
///
/// # Errors
/// There was none.
pub async fn accept(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, HandshakeError> {
    tokio::time::timeout(limit, handshake(stream, config)).await.unwrap_or(Err(HandshakeError::Slow(limit)))
}

async fn handshake(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
) -> Result<TlsStream<TcpStream>, HandshakeError> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(HandshakeError::Gone);
    }
    // A method's first letter; TLS begins with the number of its record's type.
    if first[0].is_ascii_uppercase() {
        // Read first: what is left unread at the end would take the answer with it.
        let _ = stream.read(&mut [0; 4_096]).await?;
        stream.write_all(IN_CLEAR.as_bytes()).await?;
        stream.shutdown().await?;
        return Err(HandshakeError::InClear);
    }
    Ok(TlsAcceptor::from(config).accept(stream).await?)
}
