//! tonic over HTTP/2 on a Unix socket. The service is written by hand, as its generator would write it.

use std::convert::Infallible;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use andiron_bench::{Client, IN_FLIGHT, Laps, say_ready};
use anyhow::{Result, bail, ensure};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct Numbers {
    #[prost(int64, tag = "1")]
    a: i64,
    #[prost(int64, tag = "2")]
    b: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sum {
    #[prost(int64, tag = "1")]
    sum: i64,
}

const ADD: &str = "/bench.Adder/Add";

#[derive(Clone)]
struct Adder;

impl NamedService for Adder {
    const NAME: &'static str = "bench.Adder";
}

impl UnaryService<Numbers> for Adder {
    type Response = Sum;
    type Future = std::future::Ready<Result<Response<Sum>, Status>>;

    fn call(&mut self, request: Request<Numbers>) -> Self::Future {
        let Numbers { a, b } = request.into_inner();
        std::future::ready(Ok(Response::new(Sum { sum: a + b })))
    }
}

impl Service<http::Request<Body>> for Adder {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Sum, Numbers>::default());
            Ok(grpc.unary(Adder, request).await)
        })
    }
}

pub fn serve(socket: &Path) -> Result<()> {
    crate::runtime()?.block_on(async {
        let listener = UnixListener::bind(socket)?;
        let incoming = futures::stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        say_ready()?;
        Server::builder().add_service(Adder).serve_with_incoming(incoming).await?;
        Ok(())
    })
}

pub struct Tonic {
    runtime: Runtime,
    socket: PathBuf,
    channels: Vec<Channel>,
}

impl Tonic {
    pub fn connect(socket: &Path) -> Result<Tonic> {
        Ok(Tonic { runtime: crate::runtime()?, socket: socket.to_owned(), channels: Vec::new() })
    }
}

async fn add(channel: Channel) -> Result<i64> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let codec = ProstCodec::<Numbers, Sum>::default();
    let numbers = Request::new(Numbers { a: 1, b: 2 });
    let answer: Response<Sum> = grpc.unary(numbers, PathAndQuery::from_static(ADD), codec).await?;
    Ok(answer.into_inner().sum)
}

impl Client for Tonic {
    fn sequential(&mut self, _: &mut Laps) -> Result<()> {
        bail!("no part in this")
    }

    fn pipelined(&mut self, connections: usize, calls: usize) -> Result<()> {
        while self.channels.len() < connections {
            let socket = self.socket.clone();
            let connector = tower::service_fn(move |_| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            });
            let endpoint = Endpoint::from_static("http://localhost");
            self.channels.push(self.runtime.block_on(endpoint.connect_with_connector(connector))?);
        }
        let share = calls / connections;
        let all = self.channels[..connections].iter().map(|channel| async move {
            let mut flying = FuturesUnordered::new();
            for _ in 0..share.min(IN_FLIGHT) {
                flying.push(add(channel.clone()));
            }
            for call in 0..share {
                let sum = flying.next().await.expect("a call for each of the count")?;
                ensure!(sum == 3, "wrong sum {sum}");
                if call + IN_FLIGHT < share {
                    flying.push(add(channel.clone()));
                }
            }
            Ok(())
        });
        self.runtime.block_on(futures::future::try_join_all(all))?;
        Ok(())
    }
}
