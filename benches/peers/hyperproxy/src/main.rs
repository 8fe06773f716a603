//! Minimal hyper 1 reverse proxy: N single-threaded runtimes sharing a port by
//! SO_REUSEPORT, a pooled client each, the request body buffered, the answer streamed.
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{Request, Response, Uri, body::Incoming, header, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use std::{cell::Cell, convert::Infallible, net::SocketAddr, rc::Rc};

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct W {
    client: Client<HttpConnector, Full<Bytes>>,
    ups: Vec<Uri>,
    at: Cell<usize>,
}
const HOP: [header::HeaderName; 5] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::TE, header::TRAILER, header::UPGRADE];

async fn serve(w: Rc<W>, req: Request<Incoming>) -> Result<Response<Either<Incoming, Full<Bytes>>>, Infallible> {
    let (mut p, b) = req.into_parts();
    let Ok(body) = b.collect().await else {
        return Ok(Response::new(Either::Right(Full::new(Bytes::new()))));
    };
    let i = w.at.get().wrapping_add(1);
    w.at.set(i);
    p.uri = w.ups[i % w.ups.len()].clone();
    p.headers.remove(header::HOST);
    for h in &HOP {
        p.headers.remove(h);
    }
    match w.client.request(Request::from_parts(p, Full::new(body.to_bytes()))).await {
        Ok(r) => {
            let (mut p, b) = r.into_parts();
            for h in &HOP {
                p.headers.remove(h);
            }
            Ok(Response::from_parts(p, Either::Left(b)))
        }
        Err(e) => {
            let mut r = Response::new(Either::Right(Full::new(Bytes::from(e.to_string()))));
            *r.status_mut() = hyper::StatusCode::BAD_GATEWAY;
            Ok(r)
        }
    }
}

fn run(addr: SocketAddr, ups: Vec<Uri>) {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ls = tokio::task::LocalSet::new();
    ls.block_on(&rt, async move {
        let s = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        s.set_reuse_address(true).unwrap();
        s.set_reuse_port(true).unwrap();
        s.set_nonblocking(true).unwrap();
        s.bind(&addr.into()).unwrap();
        s.listen(4096).unwrap();
        let l = tokio::net::TcpListener::from_std(s.into()).unwrap();
        let mut c = HttpConnector::new();
        c.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(4096).build(c);
        let w = Rc::new(W { client, ups, at: Cell::new(0) });
        loop {
            let Ok((s, _)) = l.accept().await else { continue };
            let _ = s.set_nodelay(true);
            let w = w.clone();
            tokio::task::spawn_local(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(s), service_fn(move |r| serve(w.clone(), r))),
            );
        }
    });
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr =
        arguments.next().and_then(|text| text.parse().ok()).expect("hyperproxy ADDRESS UPSTREAM...");
    let upstreams: Vec<Uri> = arguments
        .map(|upstream| format!("http://{upstream}/v1/messages").parse().expect("an upstream's address"))
        .collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let threads: Vec<_> = (0..workers)
        .map(|_| {
            let upstreams = upstreams.clone();
            std::thread::spawn(move || run(address, upstreams))
        })
        .collect();
    for thread in threads {
        let _ = thread.join();
    }
}
