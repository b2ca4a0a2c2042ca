//! `steled`: the daemon. It owns every socket, file and database, and knows no protocol.
//!
//! [`lifecycle`] puts the parts together: the archive, the search index and its tailer, one supervised instance per
//! `[[instance]]`, their listeners ([`http`]) and jobs. [`config`] is where the parts get their figures from; [`cli`] is
//! the face for people.

pub mod bus;
pub mod cli;
pub mod config;
pub mod http;
pub mod jobs;
pub mod lifecycle;
pub mod live;
pub mod media;
pub mod services;
