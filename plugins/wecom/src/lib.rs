//! Stele's plugin for WeCom (企业微信): the message archive (会话内容存档) in, the msg-server API out.

pub mod api;
pub mod config;
pub mod content;
mod corp;
mod directory;
mod handles;
mod health;
pub mod ids;
pub mod keys;
mod lost;
mod media;
mod plugin;
mod rate;
mod refusal;
pub mod sync;
pub mod vendor;

pub use corp::Provided;
pub use plugin::Wecom;

stele_plugin_api::export_plugin!(Wecom);
