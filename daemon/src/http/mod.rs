//! Listeners, the way of a request to its instance, and the daemon's own API.
//!
//! A request passes, in this order: the bounds of the connection ([`listener`]: number of connections, time and size of
//! the head), an id and a line in the access log ([`observe`]), the mount table ([`mounts`]: which instance), and the
//! bounds of the instance ([`front`]: rate of the caller, requests in flight, size of the body, time, answers on their way). What the daemon
//! refuses itself has the shape of the protocol ([`answer`]). The plugin sees only what passed. Whoever is to listen, as the
//! plugin says, is handed to the hub of the instance ([`live`]); its connection keeps its place and its bounds.

pub mod admin;
mod answer;
mod caller;
mod front;
mod listener;
mod live;
mod mounts;
mod observe;
mod rest;
mod tls;
mod unsent;

pub use answer::Answers;
pub use front::{Backend, Bounds, Front};
pub use listener::{Handler, Listener, Peer, Running};
pub use mounts::Mounts;
pub use observe::REQUEST_ID;
pub use tls::{Tls, TlsError};
