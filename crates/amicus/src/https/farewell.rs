//! What a client says when an inference is over: nodes need not keep its release and outputs any
//! more.

use super::client::runtime;
use super::wire::Wire;
use crate::Error;
use amicus_client::https::Call;
use amicus_node::NodeError;
use amicus_protocol::ProtocolError;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// How long a client that ends waits until nodes know what it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread that says farewell over connections of its own, while the client has its answer or asks
/// for the next one. It ends, soon, when this is dropped.
pub(super) struct Farewells {
    calls: Option<UnboundedSender<Call>>,
    thread: Option<JoinHandle<()>>,
}

impl Farewells {
    /// Starts the thread; nothing is connected before something is said.
    ///
    /// # Errors
    /// When the system gives no thread or no way to wait.
    pub(super) fn start(wire: Wire) -> Result<Self, Error> {
        let (calls, said) = unbounded_channel();
        let runtime = runtime()?;
        let work = move || runtime.block_on(say(Arc::new(wire), said));
        let thread = std::thread::Builder::new().name("farewells".into()).spawn(work);
        let thread = thread.map_err(|error| NodeError::from(ProtocolError::Internal(error.to_string())))?;
        Ok(Farewells { calls: Some(calls), thread: Some(thread) })
    }

    /// Says something some time soon. A node that does not hear it keeps what it has a while longer.
    pub(super) fn say(&self, calls: Vec<Call>) {
        for call in calls {
            let _ = self.calls.as_ref().map(|to| to.send(call));
        }
    }
}

async fn say(wire: Arc<Wire>, mut said: UnboundedReceiver<Call>) {
    let mut going = JoinSet::new();
    while let Some(call) = said.recv().await {
        while going.try_join_next().is_some() {}
        let wire = Arc::clone(&wire);
        going.spawn(async move { drop(wire.call(&call).await) });
    }
    let all = async { while going.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(PATIENCE, all).await;
}

impl Drop for Farewells {
    fn drop(&mut self) {
        drop(self.calls.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
