//! Stands between an archive and its database, and can fall silent.

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to the server of an address.
pub struct Proxy {
    /// The same database, behind it.
    pub url: String,
    silenced: watch::Sender<u64>,
}

impl Proxy {
    /// Stands before the server of this address.
    pub async fn before(url: &str) -> Self {
        let server = url.split(['@', '/']).nth(3).expect("an address has a server").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = url.replace(&server, &listener.local_addr().expect("is bound").to_string());
        let (silenced, times) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server.clone(), times.clone()));
            }
        });
        Self { url, silenced }
    }

    /// From now on connections that are open pass nothing on and stay open; new ones are as usual.
    pub fn silence(&self) {
        self.silenced.send_modify(|times| *times += 1);
    }
}

async fn pass(mut client: TcpStream, server: String, mut silenced: watch::Receiver<u64>) {
    silenced.mark_unchanged();
    let mut server = TcpStream::connect(server).await.expect("the server is there");
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = silenced.changed() => {
            // What is sent is taken, and answered by nobody.
            _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
        }
    }
}
