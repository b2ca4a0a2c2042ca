//! Small values.

use super::Backend;
use super::sample::instance;
use crate::InstanceId;
use bytes::Bytes;

pub(super) async fn values_come_and_go(backend: &mut dyn Backend) {
    let hq = instance(&*backend.archive(), "hq").await;
    let daemon = InstanceId(0);
    let archive = backend.archive();
    assert_eq!(archive.state_get(hq, "k").await.unwrap(), None);
    archive.state_put(hq, "k", Some(b"\x00one")).await.unwrap();
    archive.state_put(daemon, "k", Some(b"")).await.unwrap();
    archive.state_put(hq, "", Some(b"no name")).await.unwrap();
    archive.state_put(hq, "k", Some(b"\xfftwo")).await.unwrap();
    backend.restart().await;
    let archive = backend.archive();
    for (instance, key, value) in
        [(hq, "k", Some(&b"\xfftwo"[..])), (daemon, "k", Some(b"")), (hq, "", Some(b"no name")), (hq, "K", None)]
    {
        assert_eq!(archive.state_get(instance, key).await.unwrap(), value.map(Bytes::from_static), "{key:?}");
    }
    archive.state_put(hq, "k", None).await.unwrap();
    archive.state_put(hq, "never there", None).await.unwrap();
    assert_eq!(archive.state_get(hq, "k").await.unwrap(), None);
    assert_eq!(archive.state_get(daemon, "k").await.unwrap(), Some(Bytes::new()));
}
