//! As much of HTTP/1.1 as the proxy needs: one request, read whole.

use std::io;

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
};

const LARGEST_HEAD: usize = 64 << 10;
const LARGEST_BODY: usize = 256 << 20;

/// The head of a request.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) method: String,
    pub(super) path: String,
    /// Whether the connection becomes something else afterwards.
    pub(super) is_upgrade: bool,
    headers: Vec<String>,
}

impl RequestHead {
    fn parse(text: &str) -> io::Result<Self> {
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(invalid("a request line was expected"));
        };
        let headers: Vec<String> = lines.map(str::to_owned).collect();
        let mut head = Self {
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            is_upgrade: false,
            headers,
        };
        head.is_upgrade = head.header("upgrade").is_some();
        Ok(head)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The head as the server gets it: it is to close the connection after its answer.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for line in &self.headers {
            let is_connection = line
                .split_once(':')
                .is_some_and(|(name, _)| name.eq_ignore_ascii_case("connection"));
            if self.is_upgrade || !is_connection {
                text.push_str(line);
                text.push_str("\r\n");
            }
        }
        if !self.is_upgrade {
            text.push_str("Connection: close\r\n");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// Reads one request; `None` if the connection ends before it begins. A body in chunks is kept as it came.
pub(super) async fn read_request(client: &mut TcpStream) -> io::Result<Option<(RequestHead, Bytes)>> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = find(&read, b"\r\n\r\n") {
            break end + 4;
        }
        if read.len() > LARGEST_HEAD {
            return Err(invalid("the head of the request is too large"));
        }
        if !read_more(client, &mut read).await? {
            return Ok(None);
        }
    };
    let mut body = read.split_off(end);
    let text = String::from_utf8(read).map_err(|_| invalid("the head of the request is not text"))?;
    let head = RequestHead::parse(&text)?;
    let length = head.header("content-length").and_then(|value| value.parse().ok());
    let is_chunked = head
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    loop {
        let is_whole = match length {
            Some(length) => body.len() >= length,
            None => !is_chunked || body.ends_with(b"0\r\n\r\n"),
        };
        if is_whole {
            return Ok(Some((head, body.into())));
        }
        if body.len() > LARGEST_BODY || !read_more(client, &mut body).await? {
            return Err(invalid("the body of the request is cut or too large"));
        }
    }
}

async fn read_more(from: &mut (impl AsyncRead + Unpin), into: &mut Vec<u8>) -> io::Result<bool> {
    Ok(from.read_buf(into).await? > 0)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
