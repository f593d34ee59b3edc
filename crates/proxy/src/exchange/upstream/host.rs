//! What is known of an origin: how it is reached, and what form a request to it has.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri, Version};
use http_body::Body;

use super::environment::{Proxies, ProxyProtocol, ProxyServer};
use super::pool::Pool;
use crate::decision::route::Origin;
use crate::exchange::send_error::SendError;

/// An origin, and the connections that lead to it.
pub(super) struct Host<B> {
    pub(super) origin: Origin,
    authority: Authority,
    pub(super) way: Way,
    pub(super) pool: Rc<Pool<B>>,
}

/// How an origin is reached.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// Without an outgoing proxy.
    Direct,
    /// Requests in absolute form go to the proxy.
    Forward(Arc<ProxyServer>),
    /// Bytes go through the proxy.
    Tunnel(Arc<ProxyServer>),
}

impl Way {
    fn to(origin: &Origin, proxies: &Proxies) -> Result<Self, SendError> {
        let proxy = proxies.proxy_for(origin);
        Ok(
            match proxy.map_err(|error| SendError::Setup(error.to_string().into()))? {
                None => Self::Direct,
                Some(proxy) if !origin.secure() && proxy.protocol() == ProxyProtocol::Http => {
                    Self::Forward(Arc::clone(proxy))
                }
                Some(proxy) => Self::Tunnel(Arc::clone(proxy)),
            },
        )
    }
}

impl<B> Host<B> {
    /// The origin as it is reached by `proxies`; `forward` holds the connections to the proxy that
    /// forwards http.
    ///
    /// # Errors
    /// Where it cannot be reached at all.
    pub(super) fn new(
        origin: &Origin,
        proxies: &Proxies,
        forward: &Rc<Pool<B>>,
    ) -> Result<Self, SendError> {
        let way = Way::to(origin, proxies)?;
        let authority = Authority::try_from(origin.host_header().as_bytes())
            .map_err(|_| SendError::Setup("the upstream's name is no host's name".into()))?;
        let pool = match way {
            Way::Forward(_) => Rc::clone(forward),
            Way::Direct | Way::Tunnel(_) => Pool::new(),
        };
        Ok(Self {
            origin: origin.clone(),
            authority,
            way,
            pool,
        })
    }

    /// Whether the origin is in use or has a connection, and has to be remembered.
    pub(super) fn is_needed(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) > 1 || !self.pool.is_empty()
    }
}

impl<B: Body> Host<B> {
    /// Gives `request` the form that the connection's protocol has for it (RFC 9112 3.2, RFC 9113
    /// 8.3.1). Path and query stay byte for byte.
    pub(super) fn shape(&self, request: &mut Request<B>, http2: bool) {
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let is_framed = request.body().is_end_stream()
            || request.body().size_hint().exact().is_some()
            || request.headers().contains_key(CONTENT_LENGTH);
        let headers = request.headers_mut();
        if http2 {
            headers.remove(HOST);
            // h2 would remove the fields that `Connection` names.
            headers.remove(CONNECTION);
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = self.absolute(Scheme::HTTPS, path);
            return;
        }
        headers.insert(HOST, self.origin.host_header().clone());
        if !is_framed {
            // hyper adds this field to no GET, and would lose the body of one.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = match &self.way {
            Way::Forward(proxy) => {
                if let Some(authorization) = proxy.authorization() {
                    let headers = request.headers_mut();
                    headers.insert(PROXY_AUTHORIZATION, authorization.clone());
                }
                self.absolute(Scheme::HTTP, path)
            }
            Way::Direct | Way::Tunnel(_) => Uri::from(path),
        };
    }

    fn absolute(&self, scheme: Scheme, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).unwrap_or_else(|_| unreachable!("all three parts are there"))
    }
}
