//! A proxy on loopback that loses, cuts, delays and replaces answers.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use sync_core::Timer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::wire::{RequestHead, read_request};

/// What a [`FaultProxy`] does with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyFault {
    /// Nothing bad.
    Pass,
    /// The request is not forwarded, and the connection closed.
    DropRequest,
    /// The server answers, but the client sees the connection close instead.
    DropAnswer,
    /// The server answers, but the client gets only so many bytes of it before the connection closes.
    CutAnswerAfter(usize),
    /// The request is forwarded after this time.
    Delay(Duration),
    /// The request is not forwarded; the client gets this answer.
    Answer {
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
    /// The server answers, but the client gets this answer instead, as from a gateway that gave up.
    ReplaceAnswer {
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
}

/// A request that came through a [`FaultProxy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxiedRequest {
    /// The method, in capitals.
    pub method: String,
    /// The path with its query, as sent.
    pub path: String,
    /// The body.
    pub body: Bytes,
}

type Matcher = Box<dyn Fn(&ProxiedRequest) -> bool + Send>;

/// Forwards requests to a server, and plays faults on the way.
///
/// Each request gets a connection of its own to the server, and the client's connection ends with the answer, so
/// that a fault never touches another request. Upgrades (websockets) are passed through. Dropping the proxy cuts
/// every connection.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    upstream: Mutex<SocketAddr>,
    timer: Arc<dyn Timer>,
    plan: Mutex<Plan>,
    /// Counts the cuts; connections end when it changes.
    cuts: watch::Sender<u64>,
}

#[derive(Default)]
struct Plan {
    faults: Vec<(Matcher, ProxyFault)>,
    requests: Vec<ProxiedRequest>,
    offline: bool,
}

impl FaultProxy {
    /// A proxy in front of `upstream`, on a port of its own.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start(upstream: SocketAddr, timer: Arc<dyn Timer>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            timer,
            plan: Mutex::default(),
            cuts: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// Where the proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the proxy listens, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forwards to another address from now on, as after a restart of the server.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *lock(&self.shared.upstream) = upstream;
    }

    /// Plays a fault on the next request.
    pub fn next(&self, fault: ProxyFault) {
        self.next_where(|_| true, fault);
    }

    /// Plays a fault on the next request that `matches`. Earlier faults come first.
    pub fn next_where(&self, matches: impl Fn(&ProxiedRequest) -> bool + Send + 'static, fault: ProxyFault) {
        self.plan().faults.push((Box::new(matches), fault));
    }

    /// Plays a fault on the next request whose method is `method` and whose path begins with `path`.
    pub fn next_call(&self, method: &'static str, path: &'static str, fault: ProxyFault) {
        let matches =
            move |request: &ProxiedRequest| request.method == method && request.path.starts_with(path);
        self.next_where(matches, fault);
    }

    /// How many faults have not been played yet. A test that ends with some has not tested them.
    pub fn faults_left(&self) -> usize {
        self.plan().faults.len()
    }

    /// Every request so far, in the order they came, those that met a fault included.
    pub fn requests(&self) -> Vec<ProxiedRequest> {
        self.plan().requests.clone()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.plan().requests.clear();
    }

    /// Cuts every connection, and closes new ones at once.
    pub fn go_offline(&self) {
        self.plan().offline = true;
        self.cut_connections();
    }

    /// Forwards again.
    pub fn go_online(&self) {
        self.plan().offline = false;
    }

    /// Cuts every open connection.
    pub fn cut_connections(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        lock(&self.shared.plan)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut_connections();
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan();
        f.debug_struct("FaultProxy")
            .field("address", &self.address)
            .field("requests", &plan.requests.len())
            .field("faults_left", &plan.faults.len())
            .field("offline", &plan.offline)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut cut = shared.cuts.subscribe();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            tokio::select! {
                // A connection that fails is what the client under test has to cope with.
                _ = shared.serve(client) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

impl Shared {
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        if lock(&self.plan).offline {
            return Ok(());
        }
        let Some((head, body)) = read_request(&mut client).await? else {
            return Ok(());
        };
        match self.fault_for(&head, &body) {
            ProxyFault::DropRequest => Ok(()),
            ProxyFault::Answer { status, body } => answer(&mut client, status, &body).await,
            ProxyFault::Pass => self.forward(client, &head, &body, usize::MAX).await,
            ProxyFault::CutAnswerAfter(limit) => self.forward(client, &head, &body, limit).await,
            ProxyFault::Delay(time) => {
                self.timer.sleep(time).await;
                self.forward(client, &head, &body, usize::MAX).await
            }
            ProxyFault::DropAnswer => self.swallow(&head, &body).await,
            ProxyFault::ReplaceAnswer {
                status,
                body: replacement,
            } => {
                self.swallow(&head, &body).await?;
                answer(&mut client, status, &replacement).await
            }
        }
    }

    fn fault_for(&self, head: &RequestHead, body: &Bytes) -> ProxyFault {
        let request = ProxiedRequest {
            method: head.method.clone(),
            path: head.path.clone(),
            body: body.clone(),
        };
        let mut plan = lock(&self.plan);
        let place = plan.faults.iter().position(|(matches, _)| matches(&request));
        plan.requests.push(request);
        place.map_or(ProxyFault::Pass, |place| plan.faults.remove(place).1)
    }

    async fn send_upstream(&self, head: &RequestHead, body: &Bytes) -> io::Result<TcpStream> {
        let address = *lock(&self.upstream);
        let mut upstream = TcpStream::connect(address).await?;
        upstream.write_all(&head.to_bytes()).await?;
        upstream.write_all(body).await?;
        Ok(upstream)
    }

    async fn forward(
        &self,
        mut client: TcpStream,
        head: &RequestHead,
        body: &Bytes,
        limit: usize,
    ) -> io::Result<()> {
        let mut upstream = match self.send_upstream(head, body).await {
            Ok(upstream) => upstream,
            Err(error) => return answer(&mut client, 502, &error.kind().to_string()).await,
        };
        if head.is_upgrade {
            copy_bidirectional(&mut client, &mut upstream).await?;
            return Ok(());
        }
        let mut left = limit;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = upstream.read(&mut buffer).await?;
            let passed = read.min(left);
            client.write_all(&buffer[..passed]).await?;
            left -= passed;
            if read == 0 || left == 0 {
                return client.shutdown().await;
            }
        }
    }

    /// Waits until the server has answered in full.
    async fn swallow(&self, head: &RequestHead, body: &Bytes) -> io::Result<()> {
        let mut upstream = self.send_upstream(head, body).await?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer).await.map(drop)
    }
}

async fn answer(client: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} By-Proxy\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    client.write_all(text.as_bytes()).await?;
    client.shutdown().await
}
