//! The byte stream under a connection: plain or encrypted, direct or through a tunnel.

use tokio::io::{AsyncRead, AsyncWrite};

/// What a connection is made of.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A stream whose layers no longer matter.
pub(super) type BoxedStream = Box<dyn ByteStream>;
