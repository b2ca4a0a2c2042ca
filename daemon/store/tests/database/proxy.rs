//! Stands between an archive and its database, and can fall silent, or lose a connection amid a commit.

use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to the server of an address.
pub struct Proxy {
    /// The same database, behind it.
    pub url: String,
    silenced: watch::Sender<u64>,
    loss: Loss,
}

/// When the next connection that commits is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Before the server hears of it.
    Commit,
    /// Once the server has done it.
    Answer,
}

type Loss = Arc<Mutex<Option<Lost>>>;

impl Proxy {
    /// Stands before the server of this address.
    pub async fn before(url: &str) -> Self {
        let server = url.split(['@', '/']).nth(3).expect("an address has a server").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = url.replace(&server, &listener.local_addr().expect("is bound").to_string());
        let (silenced, times) = watch::channel(0);
        let loss = Loss::default();
        tokio::spawn({
            let loss = Arc::clone(&loss);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass(client, server.clone(), times.clone(), Arc::clone(&loss)));
                }
            }
        });
        Self { url, silenced, loss }
    }

    /// From now on connections that are open pass nothing on and stay open; new ones are as usual.
    pub fn silence(&self) {
        self.silenced.send_modify(|times| *times += 1);
    }

    /// The next commit costs its connection.
    pub fn lose(&self, lost: Lost) {
        *self.loss.lock().expect("no panic") = Some(lost);
    }

    /// Whether it did.
    pub fn has_lost(&self) -> bool {
        self.loss.lock().expect("no panic").is_none()
    }
}

async fn pass(mut client: TcpStream, server: String, mut silenced: watch::Receiver<u64>, loss: Loss) {
    silenced.mark_unchanged();
    let mut server = TcpStream::connect(server).await.expect("the server is there");
    tokio::select! {
        _ = relay(&mut client, &mut server, &loss) => {}
        _ = silenced.changed() => {
            // What is sent is taken, and answered by nobody.
            _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
        }
    }
}

/// Until one of the two ends it, or it is lost.
async fn relay(client: &mut TcpStream, server: &mut TcpStream, loss: &Loss) -> io::Result<()> {
    let (mut said, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            length = client.read(&mut said) => {
                let said = &said[..length?];
                let commits = said.windows(7).any(|word| word == b"COMMIT\0");
                let lost = if commits { loss.lock().expect("no panic").take() } else { None };
                if said.is_empty() || lost == Some(Lost::Commit) {
                    return Ok(());
                }
                server.write_all(said).await?;
                if lost == Some(Lost::Answer) {
                    return server.read(&mut answered).await.map(drop);
                }
            }
            length = server.read(&mut answered) => match length? {
                0 => return Ok(()),
                length => client.write_all(&answered[..length]).await?,
            }
        }
    }
}
