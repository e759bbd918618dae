//! The server over real sockets, with scripted targets behind it.

mod http {
    mod access;
    mod chat;
    mod embeddings;
    mod ends;
    mod limits;
    mod routes;
    mod support;
}
