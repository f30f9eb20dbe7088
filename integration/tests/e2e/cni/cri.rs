//! As much of the Container Runtime Interface as a kubelet needs to run pods: its messages, and calls of them.
//!
//! <https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto>

use std::collections::HashMap;
use std::path::Path;

use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoRequest, Status};
use tonic_prost::ProstCodec;

/// A runtime, called one after the other or from many threads at once.
pub(super) struct Cri {
    runtime: Runtime,
    channel: Channel,
}

impl Cri {
    pub(super) fn at(socket: &Path) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Self { runtime, channel }
    }

    /// The new pod's id.
    pub(super) fn run(&self, pod: &Pod) -> Result<String, Status> {
        let request = RunPodSandbox {
            config: Some(pod.clone()),
        };
        let answer: PodSandbox = self.call("RunPodSandbox", request)?;
        Ok(answer.id)
    }

    pub(super) fn stop(&self, id: &str) -> Result<(), Status> {
        self.call("StopPodSandbox", PodSandbox { id: id.to_owned() })
            .map(|Nothing {}| ())
    }

    pub(super) fn remove(&self, id: &str) -> Result<(), Status> {
        self.call("RemovePodSandbox", PodSandbox { id: id.to_owned() })
            .map(|Nothing {}| ())
    }

    /// The pod's address.
    pub(super) fn address(&self, id: &str) -> Result<String, Status> {
        let answer: Answer = self.call("PodSandboxStatus", PodSandbox { id: id.to_owned() })?;
        let network = answer.status.and_then(|status| status.network);
        Ok(network.unwrap_or_default().ip)
    }

    fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = format!("/runtime.v1.RuntimeService/{method}");
        let path: PathAndQuery = path.parse().unwrap();
        self.runtime.block_on(async {
            let mut client = Grpc::new(self.channel.clone());
            client.ready().await.unwrap();
            let codec = ProstCodec::default();
            let answer = client.unary(request.into_request(), path, codec).await?;
            Ok(answer.into_inner())
        })
    }
}

/// `PodSandboxConfig`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Pod {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<Metadata>,
    #[prost(message, repeated, tag = "5")]
    pub(super) port_mappings: Vec<PortMapping>,
    #[prost(map = "string, string", tag = "7")]
    pub(super) annotations: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub(super) linux: Option<Linux>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PortMapping {
    /// 0 is TCP, 1 UDP, 2 SCTP.
    #[prost(int32, tag = "1")]
    pub(super) protocol: i32,
    #[prost(int32, tag = "2")]
    pub(super) container_port: i32,
    #[prost(int32, tag = "3")]
    pub(super) host_port: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Linux {
    #[prost(string, tag = "1")]
    pub(super) cgroup_parent: String,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandbox {
    #[prost(message, optional, tag = "1")]
    config: Option<Pod>,
}

/// The messages that hold an id alone.
#[derive(Clone, PartialEq, Message)]
struct PodSandbox {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

/// `PodSandboxStatusResponse`.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    status: Option<PodStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct PodStatus {
    #[prost(message, optional, tag = "5")]
    network: Option<PodNetwork>,
}

#[derive(Clone, PartialEq, Message)]
struct PodNetwork {
    #[prost(string, tag = "1")]
    ip: String,
}
