//! Stele's plugin for WeCom (企业微信): the message archive (会话内容存档) in, the msg-server API out.

pub mod api;
pub mod config;
pub mod content;
pub mod ids;
pub mod secret;
