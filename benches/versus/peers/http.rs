//! A small page by tiny_http and by hyper, as their examples do it.

use std::convert::Infallible;
use std::{io, thread};

use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// As long as that of examples/http_hello.
const PAGE: &str = "<!doctype html><title>hello</title><h1>The same page, of the same length</h1> \n";

/// So many threads answer what the server's own threads have read.
pub(crate) fn tiny_http(threads: usize) -> io::Result<()> {
    let server = tiny_http::Server::http("127.0.0.1:0").map_err(io::Error::other)?;
    println!("listening on {}", server.server_addr());
    let kind = tiny_http::Header::from_bytes("Content-Type", "text/html").expect("it is a header");
    let work = || {
        loop {
            server.recv()?.respond(tiny_http::Response::from_string(PAGE).with_header(kind.clone()))?;
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work()
    })
}

/// A task for each connection, on a thread for each processor.
pub(crate) fn hyper() -> io::Result<()> {
    crate::tokio_peer::run("threads", async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(page)));
        }
    })
}

async fn page(_: Request<hyper::body::Incoming>) -> Result<Response<Full<&'static [u8]>>, Infallible> {
    let mut response = Response::new(Full::new(PAGE.as_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    Ok(response)
}
