//! Who may ask: the bearer token, the name of the host, and pages of other origins.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, HOST, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use constant_time_eq::constant_time_eq;
use sha2::{Digest, Sha256};

use super::api_error::ApiError;

/// Paths that need no token: whether the server is there, and the page, which asks for the token.
const FREE: [&str; 2] = ["/health", "/"];

/// Check the token of a request, if the server has one.
pub(super) fn check_token(
    token: Option<&str>,
    path: &str,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let Some(token) = token.filter(|_| !FREE.contains(&path)) else {
        return Ok(());
    };
    let given = headers.get(AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(given.trim())
    });
    // Of the hashes, so that the time does not depend on the length either.
    let hash = |text: &str| Sha256::digest(text.as_bytes());
    match given {
        Some(given) if constant_time_eq(&hash(given), &hash(token)) => Ok(()),
        _ => Err(ApiError::token()),
    }
}

/// A server without a token that listens to its own machine alone answers to names of this machine alone: otherwise
/// a page of any site could reach it by letting its own name point here.
pub(super) fn check_host(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(host) = headers.get(HOST) else {
        return Ok(());
    };
    let host = host.to_str().unwrap_or_default();
    // `[::1]:8080`, `127.0.0.1:8080`, `localhost`
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.to_ascii_lowercase();
    let is_own = match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    };
    if is_own {
        Ok(())
    } else {
        Err(ApiError::host(host))
    }
}

/// Let pages of these origins read the response.
pub(super) fn allow_origin(origins: &[String], asked: &HeaderMap, response: &mut Response<Body>) {
    if origins.is_empty() {
        return;
    }
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = asked.get(ORIGIN) else {
        return;
    };
    let is_allowed = |allowed: &String| allowed == "*" || allowed.as_bytes() == origin.as_bytes();
    if origins.iter().any(is_allowed) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

/// The reply to a browser that asks whether a page may send a request.
pub(super) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn the_token_must_be_the_same() {
        let check =
            |value: &str| check_token(Some("secret"), "/v1/models", &headers(AUTHORIZATION, value));
        assert_eq!(check("Bearer secret"), Ok(()));
        assert_eq!(check("bearer  secret "), Ok(()));
        for wrong in [
            "Bearer secrets",
            "Bearer ",
            "Bearer",
            "secret",
            "Basic secret",
            "Bearer Secret",
        ] {
            assert_eq!(
                check(wrong).unwrap_err().status,
                StatusCode::UNAUTHORIZED,
                "{wrong}"
            );
        }
        let none = HeaderMap::new();
        assert!(check_token(Some("secret"), "/v1/models", &none).is_err());
        assert_eq!(check_token(Some("secret"), "/health", &none), Ok(()));
        assert_eq!(check_token(None, "/v1/models", &none), Ok(()));
    }

    #[test]
    fn names_of_other_hosts_are_refused() {
        for own in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "a.localhost:1",
        ] {
            assert_eq!(check_host(&headers(HOST, own)), Ok(()), "{own}");
        }
        for other in [
            "example.org",
            "localhost.example.org",
            "10.0.0.1",
            "[::2]",
            "",
            "127.0.0.1.example.org",
        ] {
            assert!(check_host(&headers(HOST, other)).is_err(), "{other}");
        }
        assert_eq!(check_host(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn origins_are_let_in_by_name() {
        let allowed = |origins: &[&str], origin: &str| {
            let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
            let mut response = preflight();
            allow_origin(&origins, &headers(ORIGIN, origin), &mut response);
            response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned()
        };
        let mine = "https://mine.example";
        assert_eq!(allowed(&[], mine), None);
        assert_eq!(allowed(&["https://other.example"], mine), None);
        assert_eq!(allowed(&[mine], mine).unwrap(), mine);
        assert_eq!(allowed(&["*"], mine).unwrap(), mine);
    }
}
