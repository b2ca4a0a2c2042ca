//! Connections, each lent to one user at a time.
//!
//! A connection may fall silent: nothing is answered, and nothing says that it ended. Whoever needs an answer for it to go on waits a
//! bounded time, here and in [`transact`](super::transact), and lets go of the connection with its socket. The driver's own pool asks
//! each that comes back whether it is well and waits for the answer without end; it would have none left to lend.

use super::error::{Failure, code};
use super::open::{FRESH, PostgresOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// A connection ends when it was used for so long, or for so long by nobody.
const LIFETIME: Duration = Duration::from_secs(1800);
const IDLE: Duration = Duration::from_secs(600);
/// Pause before a server that takes no connections yet is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// Some connections, made when they are needed.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    connecting: PgConnectOptions,
    connections: u32,
    /// One for each connection that may be lent.
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    acquire: Duration,
    answer: Duration,
    call: Duration,
}

/// A connection at rest.
struct Idle {
    connection: PgConnection,
    made: Instant,
    since: Instant,
}

impl Pool {
    pub fn new(connecting: PgConnectOptions, options: &PostgresOptions) -> Self {
        let connections = options.connections.max(1);
        Self(Arc::new(Shared {
            connecting,
            connections,
            permits: Arc::new(Semaphore::new(connections as usize)),
            idle: Mutex::default(),
            acquire: options.acquire_timeout,
            answer: options.answer_timeout,
            call: options.call_timeout,
        }))
    }

    /// One that is well, as far as can be known.
    pub async fn lend(&self) -> Result<Lent, Failure> {
        let lent = timeout(self.0.acquire, self.lend_in_time()).await;
        Ok(lent.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
    }

    async fn lend_in_time(&self) -> Result<Lent, sqlx::Error> {
        let shared = Arc::clone(&self.0);
        let permit = Arc::clone(&shared.permits).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = shared.idle().pop();
        let well = match idle {
            Some(idle) if idle.since.elapsed() < FRESH => Some((idle.connection, idle.made)),
            Some(Idle { mut connection, made, .. }) => match timeout(shared.answer, connection.ping()).await {
                Ok(Ok(())) => Some((connection, made)),
                _ => {
                    // Those that wait with it are as old, and would each be waited for.
                    shared.idle().clear();
                    None
                }
            },
            None => None,
        };
        let (connection, made) = match well {
            Some(well) => well,
            None => (shared.connect().await?, Instant::now()),
        };
        let since = Instant::now();
        Ok(Lent { connection: Some(connection), made, since, amid: false, permit: Some(permit), shared })
    }

    /// Whether it lends no more.
    pub fn is_closed(&self) -> bool {
        self.0.permits.is_closed()
    }

    /// Close them all. What is lent is waited for as long as a call may take.
    pub async fn close(&self) {
        let all = timeout(self.0.call, self.0.permits.acquire_many(self.0.connections)).await;
        self.0.permits.close();
        drop(all);
        let idle = std::mem::take(&mut *self.0.idle());
        for idle in idle {
            _ = timeout(self.0.answer, idle.connection.close()).await;
        }
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().expect("no panic happens while it is locked")
    }

    /// A new one, as soon as the server takes any.
    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        loop {
            match self.connecting.connect().await {
                Err(error) if is_early(&error) => tokio::time::sleep(PAUSE).await,
                done => return done,
            }
        }
    }

    /// Put one that was used to rest, if it comes to rest in time.
    async fn take_back(&self, mut connection: PgConnection, made: Instant, amid: bool, deadline: Instant) {
        let rest = async {
            match amid {
                true => sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.map(drop),
                false => connection.ping().await,
            }
        };
        let is_well = matches!(timeout_at(deadline, rest).await, Ok(Ok(())));
        if is_well && made.elapsed() < LIFETIME && !self.permits.is_closed() {
            let mut idle = self.idle();
            idle.retain(|idle| idle.since.elapsed() < IDLE);
            idle.push(Idle { connection, made, since: Instant::now() });
        }
    }
}

/// Whether the server takes no connections yet, or has too many.
fn is_early(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        error => code(error).is_some_and(|code| code == "53300" || code == "57P03"),
    }
}

/// A connection that is lent, with the transaction that was begun on it if one was. Dropped, it is rolled back and put to rest beside
/// whoever goes on.
pub(crate) struct Lent {
    /// None after it was let go of.
    connection: Option<PgConnection>,
    made: Instant,
    since: Instant,
    /// Whether a transaction may be open.
    amid: bool,
    permit: Option<OwnedSemaphorePermit>,
    shared: Arc<Shared>,
}

impl Lent {
    /// Begin a transaction. A server that is there answers this at once, so one that does not in time is let go of, and
    /// whoever would begin may do so on another.
    pub async fn begin(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        self.amid = true;
        let limit = self.shared.answer;
        let Ok(begun) = timeout(limit, sqlx::raw_sql(statement).execute(&mut **self)).await else {
            self.connection = None;
            return Err(silent(limit));
        };
        begun.map(drop)
    }

    /// End the transaction.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        // However this turns out, it is over.
        self.amid = false;
        sqlx::raw_sql("COMMIT").execute(&mut *self).await.map(drop)
    }
}

/// What is met where the server said nothing for so long.
pub(super) fn silent(limit: Duration) -> sqlx::Error {
    let text = format!("the database did not answer within {} s", limit.as_secs_f32());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("nobody uses what they let go of")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("nobody uses what they let go of")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (Some(connection), Ok(runtime)) = (self.connection.take(), Handle::try_current()) else { return };
        let (shared, permit, made, amid) = (Arc::clone(&self.shared), self.permit.take(), self.made, self.amid);
        // All of a call, or a moment more.
        let deadline = (self.since + shared.call).max(Instant::now() + shared.answer);
        runtime.spawn(async move {
            shared.take_back(connection, made, amid, deadline).await;
            drop(permit);
        });
    }
}
