//! Names become addresses here, and nowhere else: what is checked is what is dialled.

use std::io;
use std::net::IpAddr;

use async_trait::async_trait;

/// Who knows the addresses of a name. The host asks once for each connection.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// # Errors
    /// There is no such name, or nobody who could know.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own, with its `hosts` file and whatever else it looks at.
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}
