//! Hawk headers, challenges, credentials and bewits, against npm `hawk`'s own regular expressions
//! (`lib/utils.js`, `lib/server.js`) and `serde_json`.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use regex::Regex;
use ring::hmac;
use serde_json::Value;
use taskcluster_proxy_hawk::{
    BewitError, Certificate, Claim, Credentials, HeaderError, Resource, SignedRequest, Signer,
    Verification, VerifyError, verify_bewit, verify_header,
};

use super::lines;

const NOW: u64 = 1_700_000_000;

/// The access token that everything here is signed with.
const TOKEN: &str = "token";

/// The attributes of `Authorization`.
const KEYS: [&str; 8] = ["id", "ts", "nonce", "hash", "ext", "mac", "app", "dlg"];

static SCHEME: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^([0-9A-Za-z_]+)(?:[ \t\x0b\x0c]+(.*))?$"));
static ATTRIBUTE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"([0-9A-Za-z_]+)="([^"\\]*)"[ \t\x0b\x0c]*(?:,[ \t\x0b\x0c]*|$)"#));
static VALUE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^[ 0-9A-Za-z_!#$%&'()*+,\-./:;<=>?@\[\]^`{|}~]+$"));
static BEWIT: LazyLock<Regex> = LazyLock::new(|| regex(r"^(/.*)([?&])bewit=([^&$]*)(?:&(.+))?$"));

static CLIENT_ID: LazyLock<Regex> = LazyLock::new(|| regex(r"^[A-Za-z0-9!@/:.+|_-]+$"));

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let credentials = Credentials::new("client", TOKEN, None).expect("credentials");
    Signer::new(&credentials, None)
});

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a regular expression")
}

/// A header is read where npm `hawk` reads it, with the same attributes, and refused with the same
/// status elsewhere. With the MAC of its attributes it verifies, and says what they say.
pub fn hawk_header(bytes: &[u8]) -> bool {
    let Some(header) = field_text(bytes) else {
        return false;
    };
    let claim = Claim::from_header(header);
    let attributes = match model(header, &KEYS) {
        Ok(attributes) => attributes,
        Err(status) => {
            let error = claim.expect_err("npm hawk does not read it");
            assert_eq!(error.status(), status, "{error}");
            return false;
        }
    };
    let required = ["id", "ts", "nonce", "mac"];
    if !required.iter().all(|name| attributes.contains_key(name)) {
        assert_eq!(claim.err(), Some(VerifyError::Attributes));
        return false;
    }
    match claim {
        Ok(claim) => assert_eq!(claim.client_id(), attributes["id"]),
        Err(VerifyError::Header(error)) => panic!("{error}"),
        Err(_) => {
            assert!(attributes.contains_key("ext"));
            return false;
        }
    }
    proven(&attributes);
    true
}

/// The text of a field's value; `None` for bytes that no field's value can hold.
fn field_text(bytes: &[u8]) -> Option<&str> {
    let is_text = |byte| matches!(byte, b'\t' | b' '..=b'~');
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.bytes().all(is_text))
}

/// Each attribute counts in the MAC, and a header with the right one verifies with all of them.
fn proven(attributes: &HashMap<&str, &str>) {
    let mac = mac(&normalised(attributes));
    let mut attributes = attributes.clone();
    attributes.insert("mac", &mac);
    let pairs = attributes.iter();
    let pairs: Vec<_> = pairs
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    let header = format!("Hawk {}", pairs.join(", "));
    let verification = Verification {
        now: NOW * 1000,
        timestamp_skew: u64::MAX,
        payload_hash: None,
    };
    let verified = verify_header(
        &request("/"),
        &header,
        |_| Some(TOKEN.to_owned()),
        &verification,
    );
    match verified {
        Ok(verified) => {
            assert_eq!(verified.client_id, attributes["id"]);
            assert_eq!(Ok(verified.ts), attributes["ts"].parse());
            assert_eq!(verified.nonce.as_deref(), Some(attributes["nonce"]));
            assert_eq!(
                verified.payload_hash.as_deref(),
                attributes.get("hash").copied()
            );
        }
        Err(VerifyError::Timestamp) => assert_eq!(seconds(attributes["ts"]), None),
        Err(VerifyError::Certificate(_)) => assert!(attributes.contains_key("ext")),
        Err(error) => assert_eq!(error, VerifyError::Header(HeaderError::TooLong)),
    }
}

/// `crypto.js`, `generateNormalizedString`. An attribute holds nothing that it would escape.
fn normalised(attributes: &HashMap<&str, &str>) -> String {
    let value = |name| attributes.get(name).copied().unwrap_or_default();
    let (ts, nonce, hash, ext) = (value("ts"), value("nonce"), value("hash"), value("ext"));
    let app = attributes
        .get("app")
        .map_or_else(String::new, |app| format!("{app}\n{}\n", value("dlg")));
    format!("hawk.1.header\n{ts}\n{nonce}\nGET\n/\nexample.com\n443\n{hash}\n{ext}\n{app}")
}

fn mac(text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, TOKEN.as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

fn seconds(ts: &str) -> Option<u64> {
    let is_number = ts.bytes().all(|byte| byte.is_ascii_digit());
    ts.parse().ok().filter(|_| is_number)
}

/// A challenge teaches its time where npm `hawk` reads it and its `tsm` is made with our key, and
/// nothing else does.
pub fn challenge(bytes: &[u8]) -> bool {
    let Some(header) = field_text(bytes) else {
        return false;
    };
    let told = SIGNER.challenge_time(header);
    let attributes = model(header, &["ts", "tsm", "error"]).unwrap_or_default();
    let time = attributes
        .get("ts")
        .copied()
        .filter(|_| attributes.contains_key("tsm"));
    let Some(ts) = time else {
        assert_eq!(told, None);
        return false;
    };
    let tsm = mac(&format!("hawk.1.ts\n{ts}\n"));
    assert_eq!(told, proven_time(header));
    let proven = format!("Hawk ts=\"{ts}\", tsm=\"{tsm}\"");
    if proven.len() <= 4096 {
        assert_eq!(SIGNER.challenge_time(&proven), seconds(ts));
    }
    told.is_some()
}

/// The time in a challenge that is made with our key.
pub(super) fn proven_time(value: &str) -> Option<u64> {
    let attributes = model(field_text(value.as_bytes())?, &["ts", "tsm", "error"]).ok()?;
    let ts = attributes.get("ts")?;
    let is_proven = attributes.get("tsm") == Some(&&mac(&format!("hawk.1.ts\n{ts}\n"))[..]);
    seconds(ts).filter(|_| is_proven)
}

/// `parseAuthorizationHeader`: the attributes, or the status.
fn model<'a>(header: &'a str, keys: &[&str]) -> Result<HashMap<&'a str, &'a str>, u16> {
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
        if whole.start() != end || !keys.contains(&name) || !VALUE.is_match(value) || !is_new {
            return Err(400);
        }
        end = whole.end();
    }
    if end != list.len() || list.is_empty() {
        return Err(400);
    }
    Ok(attributes)
}

/// An accepted certificate says to `serde_json` what it says to us, keeps every byte of its
/// strings, and comes through a header unchanged. The verifier reads what the signer writes.
pub fn certificate(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        ext(&value);
    }
    let Ok(certificate) = Certificate::parse(text, "client/name") else {
        return false;
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

    let credentials = Credentials::new("client/name", TOKEN, Some(text)).expect("it is taken");
    let header = sign(&Signer::new(&credentials, Some(&["a".to_owned()])));
    match Claim::from_header(&header) {
        Ok(claim) => {
            assert_eq!(claim.client_id(), "client/name");
            let issuer = value["issuer"].as_str().filter(|issuer| !issuer.is_empty());
            assert_eq!(claim.issuing_client_id(), issuer.unwrap_or("client/name"));
        }
        Err(error) => assert_eq!(error, VerifyError::Header(HeaderError::TooLong)),
    }
    true
}

/// Accepted credentials have a client id by Taskcluster's pattern and an access token, and what they
/// sign verifies for that client. A refusal says the same for every access token.
pub fn credentials(bytes: &[u8]) -> bool {
    let Some([client_id, access_token, certificate]) = lines::<3>(bytes) else {
        return false;
    };
    let taken = |access_token| Credentials::new(client_id, access_token, Some(certificate));
    let has_certificate = !certificate.is_empty();
    let is_good = CLIENT_ID.is_match(client_id)
        && !access_token.is_empty()
        && (!has_certificate || Certificate::parse(certificate, client_id).is_ok());
    let credentials = match taken(access_token) {
        Ok(credentials) => credentials,
        Err(error) => {
            assert!(!is_good, "{error}");
            assert!(access_token.is_empty() || taken("another") == Err(error));
            return false;
        }
    };
    assert!(is_good);
    assert_eq!(credentials.certificate.is_some(), has_certificate);
    let header = sign(&Signer::new(&credentials, None));
    let Ok(claim) = Claim::from_header(&header) else {
        assert!(header.len() > 4096);
        return true;
    };
    assert_eq!(claim.client_id(), client_id);
    if !has_certificate {
        let verification = Verification {
            now: NOW * 1000,
            timestamp_skew: 0,
            payload_hash: None,
        };
        let verify = |key| claim.verify(&request("/"), key, &verification);
        assert_eq!(
            verify(access_token)
                .map(|verified| verified.client_id)
                .as_deref(),
            Ok(client_id)
        );
        assert_eq!(verify("another").is_ok(), access_token == "another");
    }
    true
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
pub fn bewit(bytes: &[u8]) -> bool {
    let Some([target, other]) = lines::<2>(bytes) else {
        return false;
    };
    let claim = Claim::from_bewit(&request(target));
    let is_read = claim.is_ok();
    match expected(target) {
        Ok(id) => match claim {
            Ok(claim) => assert_eq!(claim.client_id(), id),
            Err(error) => assert!(!matches!(error, VerifyError::Bewit(_)), "{error}"),
        },
        Err(error) => assert_eq!(claim.err(), Some(VerifyError::Bewit(error))),
    }

    let Ok(resource) = Resource::parse(&format!("https://example.com{target}")) else {
        return is_read;
    };
    if !target.starts_with('/') || target.contains('#') || target.len() > 3000 {
        return is_read;
    }
    assert_eq!(resource.target, target);
    let bewit = SIGNER.bewit(&request(target), NOW + 60);
    let separator = if target.contains('?') { '&' } else { '?' };
    let verify = |target: &str| {
        let signed = format!("{target}{separator}bewit={bewit}");
        verify_bewit(&request(&signed), |_| Some(TOKEN.to_owned()), NOW * 1000)
    };
    assert_eq!(
        verify(target).map(|verified| verified.client_id).as_deref(),
        Ok("client")
    );
    if other.starts_with('/') && other != target {
        assert!(verify(other).is_err());
    }
    is_read
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
