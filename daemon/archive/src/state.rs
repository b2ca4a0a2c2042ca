//! Small values kept for plugins and for the daemon itself.

use crate::{InstanceId, Result};
use async_trait::async_trait;
use bytes::Bytes;

/// Small values, by name. The daemon's own live under instance 0.
#[async_trait]
pub trait StateTable: Send + Sync {
    /// The value of this name.
    async fn state_get(&self, instance: InstanceId, key: &str) -> Result<Option<Bytes>>;

    /// Set or remove it.
    async fn state_put(&self, instance: InstanceId, key: &str, value: Option<&[u8]>) -> Result<()>;
}
