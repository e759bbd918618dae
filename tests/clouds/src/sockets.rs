//! Peers that fail below HTTP.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// An address on which nothing listens.
pub fn dead_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address")
}

/// An address that does not even refuse: its queue of connections is full, so the system drops new ones.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    /// The listener, and the connections that fill its queue.
    _sockets: Vec<Socket>,
}

impl BlackHole {
    /// Opens one. Takes a moment: it is full when a connection no longer succeeds at once.
    pub fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("loopback has a free port");
        listener.listen(0).expect("the socket listens");
        let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        let mut sockets = vec![listener];
        for _ in 0..64 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
            let connected = socket.connect_timeout(&address.into(), Duration::from_millis(200));
            sockets.push(socket);
            if connected.is_err() {
                return Self { address, _sockets: sockets };
            }
        }
        panic!("the listener's queue does not fill on this system");
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for BlackHole {
    fn default() -> Self {
        Self::new()
    }
}

/// A listener that takes connections and never answers on them.
#[derive(Debug)]
pub struct Silent(TcpListener);

impl Silent {
    /// Opens one.
    pub fn new() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port"))
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound listener has an address")
    }
}

impl Default for Silent {
    fn default() -> Self {
        Self::new()
    }
}
