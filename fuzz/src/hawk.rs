//! Hawk headers, certificates and bewits, against npm `hawk`'s own regular expressions
//! (`lib/utils.js`, `lib/server.js`) and `serde_json`.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use regex::Regex;
use serde_json::Value;
use taskcluster_proxy_hawk::{
    BewitError, Certificate, Claim, Credentials, HeaderError, Resource, SignedRequest, Signer,
    VerifyError, verify_bewit,
};

use super::lines;

const NOW: u64 = 1_700_000_000;

static SCHEME: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^([0-9A-Za-z_]+)(?:[ \t\x0b\x0c]+(.*))?$"));
static ATTRIBUTE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"([0-9A-Za-z_]+)="([^"\\]*)"[ \t\x0b\x0c]*(?:,[ \t\x0b\x0c]*|$)"#));
static VALUE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^[ 0-9A-Za-z_!#$%&'()*+,\-./:;<=>?@\[\]^`{|}~]+$"));
static BEWIT: LazyLock<Regex> = LazyLock::new(|| regex(r"^(/.*)([?&])bewit=([^&$]*)(?:&(.+))?$"));

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let credentials = Credentials::new("client", "token", None).expect("credentials");
    Signer::new(&credentials, None)
});

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a regular expression")
}

/// A header is read where npm `hawk` reads it, with the same attributes, and refused with the same
/// status elsewhere.
pub fn hawk_header(bytes: &[u8]) {
    // What no field's value can hold never comes here.
    let Some(header) = std::str::from_utf8(bytes).ok().filter(|header| {
        header
            .bytes()
            .all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
    }) else {
        return;
    };
    let claim = Claim::from_header(header);
    match (model(header), claim) {
        (Err(status), Err(error)) => assert_eq!(error.status(), status, "{error}"),
        (Ok(attributes), claim) => {
            let required = ["id", "ts", "nonce", "mac"];
            if !required.iter().all(|name| attributes.contains_key(name)) {
                assert_eq!(claim.err(), Some(VerifyError::Attributes));
                return;
            }
            match claim {
                Ok(claim) => assert_eq!(claim.client_id(), attributes["id"]),
                Err(VerifyError::Header(error)) => panic!("{error}"),
                Err(_) => assert!(attributes.contains_key("ext")),
            }
        }
        (Err(_), Ok(_)) => panic!("npm hawk does not read it"),
    }
}

/// `parseAuthorizationHeader`: the attributes, or the status.
fn model(header: &str) -> Result<HashMap<&str, &str>, u16> {
    const KEYS: [&str; 8] = ["id", "ts", "nonce", "hash", "ext", "mac", "app", "dlg"];
    if header.is_empty() {
        return Err(401);
    }
    if header.len() > 4096 {
        return Err(400);
    }
    let parts = SCHEME.captures(header).ok_or(400_u16)?;
    if !parts[1].eq_ignore_ascii_case("hawk") {
        return Err(401);
    }
    let list = parts.get(2).map_or("", |list| list.as_str());
    let mut attributes = HashMap::new();
    let mut end = 0;
    for found in ATTRIBUTE.captures_iter(list) {
        let (whole, name, value) = (
            found.get(0).expect("a match"),
            found.get(1).map_or("", |name| name.as_str()),
            found.get(2).map_or("", |value| value.as_str()),
        );
        let is_new = attributes.insert(name, value).is_none();
        if whole.start() != end || !KEYS.contains(&name) || !VALUE.is_match(value) || !is_new {
            return Err(400);
        }
        end = whole.end();
    }
    if end != list.len() || list.is_empty() {
        return Err(400);
    }
    Ok(attributes)
}

/// A certificate that is taken says to `serde_json` what it says to us, keeps every byte of its
/// strings, and comes through a header unchanged; and what the signer writes the verifier reads.
pub fn certificate(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        ext(&value);
    }
    let Ok(certificate) = Certificate::parse(text, "client/name") else {
        return;
    };
    let value: Value = serde_json::from_str(text).expect("it is JSON");
    let compact: Value = serde_json::from_str(certificate.as_json()).expect("it stays JSON");
    assert_eq!(compact, value);
    assert!(certificate.as_json().len() <= text.len());
    let scopes: Vec<&str> = certificate.scopes().iter().map(String::as_str).collect();
    let named: Vec<&str> = value["scopes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(scopes, named);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a certificate has what a double holds"
    )]
    let times = [certificate.start() as f64, certificate.expiry() as f64];
    assert_eq!(
        [value["start"].as_f64(), value["expiry"].as_f64()],
        times.map(Some)
    );
    assert_eq!(
        Certificate::parse(certificate.as_json(), "client/name"),
        Ok(certificate)
    );

    let credentials = Credentials::new("client/name", "token", Some(text)).expect("it is taken");
    let header = sign(&Signer::new(&credentials, Some(&["a".to_owned()])));
    match Claim::from_header(&header) {
        Ok(claim) => {
            assert_eq!(claim.client_id(), "client/name");
            let issuer = value["issuer"].as_str().filter(|issuer| !issuer.is_empty());
            assert_eq!(claim.issuing_client_id(), issuer.unwrap_or("client/name"));
        }
        Err(error) => assert_eq!(error, VerifyError::Header(HeaderError::TooLong)),
    }
}

/// An `ext` of any JSON is a claim or a refusal of that JSON, never one of the header.
fn ext(value: &Value) {
    let ext = BASE64_STANDARD.encode(value.to_string());
    let header = format!(r#"Hawk id="a", ts="1", nonce="n", mac="m", ext="{ext}""#);
    match Claim::from_header(&header) {
        Ok(_) => assert!(value.is_object()),
        Err(VerifyError::Header(error)) => assert_eq!(error, HeaderError::TooLong),
        Err(error) => assert_eq!(error.status(), 401),
    }
}

fn sign(signer: &Signer) -> String {
    let request = request("/");
    let mut header = Vec::new();
    let nonce = taskcluster_proxy_hawk::NonceSource::new().next();
    signer.write_authorization(&mut header, &request, NOW, &nonce);
    String::from_utf8(header).expect("ASCII")
}

fn request(target: &str) -> SignedRequest<'_> {
    SignedRequest {
        method: "GET",
        target,
        host: "example.com",
        port: 443,
    }
}

/// A bewit is found where npm `hawk`'s regular expression finds it, and refused as it refuses it. One
/// that is made for a target verifies for it and for no other.
pub fn bewit(bytes: &[u8]) {
    let Some([target, other]) = lines::<2>(bytes) else {
        return;
    };
    let claim = Claim::from_bewit(&request(target));
    match expected(target) {
        Ok(id) => match claim {
            Ok(claim) => assert_eq!(claim.client_id(), id),
            Err(error) => assert!(!matches!(error, VerifyError::Bewit(_)), "{error}"),
        },
        Err(error) => assert_eq!(claim.err(), Some(VerifyError::Bewit(error))),
    }

    let Ok(resource) = Resource::parse(&format!("https://example.com{target}")) else {
        return;
    };
    if !target.starts_with('/') || target.contains('#') || target.len() > 3000 {
        return;
    }
    assert_eq!(resource.target, target);
    let bewit = SIGNER.bewit(&request(target), NOW + 60);
    let separator = if target.contains('?') { '&' } else { '?' };
    let verify = |target: &str| {
        let signed = format!("{target}{separator}bewit={bewit}");
        verify_bewit(&request(&signed), |_| Some("token".to_owned()), NOW * 1000)
    };
    assert_eq!(
        verify(target).map(|verified| verified.client_id).as_deref(),
        Ok("client")
    );
    if other.starts_with('/') && other != target {
        assert!(verify(other).is_err());
    }
}

/// `authenticateBewit` up to the MAC: the client id, or the refusal.
fn expected(target: &str) -> Result<String, BewitError> {
    if target.len() > 4096 {
        return Err(BewitError::TooLong);
    }
    let is_one_line = !target.contains(['\r', '\u{2028}', '\u{2029}']);
    let found = BEWIT
        .captures(target)
        .filter(|_| is_one_line)
        .ok_or(BewitError::Missing)?;
    let bewit = &found[3];
    if bewit.is_empty() {
        return Err(BewitError::Empty);
    }
    if !bewit
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    {
        return Err(BewitError::Encoding);
    }
    // Node's decoder stops where no whole byte is left.
    let whole = bewit.len() - usize::from(bewit.len() % 4 == 1);
    let zeroed = zero_trailing_bits(&bewit[..whole]);
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(zeroed).expect("base64url");
    let text: String = decoded.into_iter().map(char::from).collect();
    let parts: Vec<&str> = text.split('\\').collect();
    let [id, expiry, mac, _] = parts[..] else {
        return Err(BewitError::Structure);
    };
    if id.is_empty() || expiry.is_empty() || mac.is_empty() {
        return Err(BewitError::Attributes);
    }
    Ok(id.to_owned())
}

/// The decoder here wants the bits beyond the last whole byte to be zero.
fn zero_trailing_bits(text: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let keep = match text.len() % 4 {
        2 => 0b11_0000,
        3 => 0b11_1100,
        _ => return text.to_owned(),
    };
    let (rest, last) = text.split_at(text.len() - 1);
    let value = ALPHABET.find(last).expect("base64url") & keep;
    format!("{rest}{}", &ALPHABET[value..=value])
}
