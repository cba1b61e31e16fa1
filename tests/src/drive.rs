//! A server that speaks as Google Drive (version 3) and as Google's token endpoint do, and fails as a test tells it to.
//!
//! It is strict: a statement must be signed with the account's key, ask to read and nothing else, and hold now; a request
//! for files must bear a token that was given out and has not been taken back.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Url;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest that a hanging server holds on to a caller.
const HANG: Duration = Duration::from_secs(20);
const ACCOUNT: &str = "reader@project.iam.gserviceaccount.com";
const FOLDER: &str = "application/vnd.google-apps.folder";
const GOOGLE_DOC: &str = "application/vnd.google-apps.document";

/// A file in Drive.
#[derive(Debug, Clone)]
pub struct DriveFile {
    id: String,
    name: String,
    kind: &'static str,
    parent: String,
    version: u32,
    content: Vec<u8>,
}

impl DriveFile {
    fn new(id: &str, name: &str, kind: &'static str, parent: &str, content: &[u8]) -> Self {
        let (id, name, parent) = (id.to_owned(), name.to_owned(), parent.to_owned());
        Self { id, name, kind, parent, version: 1, content: content.to_vec() }
    }

    /// One of Google's own documents.
    pub fn document(id: &str, name: &str, parent: &str, text: &str) -> Self {
        Self::new(id, name, GOOGLE_DOC, parent, text.as_bytes())
    }

    /// A file of plain text, or what says that it is.
    pub fn text(id: &str, name: &str, parent: &str, content: &[u8]) -> Self {
        Self::new(id, name, "text/plain", parent, content)
    }

    /// A file of Markdown.
    pub fn markdown(id: &str, name: &str, parent: &str, text: &str) -> Self {
        Self::new(id, name, "text/markdown", parent, text.as_bytes())
    }

    /// Something that is no text.
    pub fn pdf(id: &str, name: &str, parent: &str) -> Self {
        Self::new(id, name, "application/pdf", parent, b"%PDF-1.7")
    }

    /// A folder.
    pub fn folder(id: &str, name: &str, parent: &str) -> Self {
        Self::new(id, name, FOLDER, parent, b"")
    }

    /// As a list tells of it.
    fn view(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "mimeType": self.kind,
            "modifiedTime": format!("2026-01-01T00:00:{:02}.000Z", self.version),
            "webViewLink": format!("https://docs.example/d/{}", self.id),
        })
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriveDoor {
    /// A token.
    Token,
    /// A list of files.
    List,
    /// A file's text.
    Read,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum DriveFault {
    /// This status with Drive's reason.
    Refuse(u16, &'static str),
    /// A response of 200 with this body.
    Answer(&'static str),
    /// Nothing, for very long.
    Hang,
}

struct Fault {
    door: DriveDoor,
    fault: DriveFault,
    times: usize,
}

struct State {
    files: Vec<DriveFile>,
    faults: Vec<Fault>,
    seen: Vec<String>,
    public_key: Vec<u8>,
    tokens: HashSet<String>,
    granted: usize,
}

/// The server. Files live as long as it does.
pub struct DriveServer {
    url: String,
    state: Arc<Mutex<State>>,
    folder: TempDir,
}

impl DriveServer {
    /// Starts one with these files, with an account that may read them all.
    pub fn start(files: impl IntoIterator<Item = DriveFile>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            files: files.into_iter().collect(),
            faults: Vec::new(),
            seen: Vec::new(),
            public_key: Vec::new(),
            tokens: HashSet::new(),
            granted: 0,
        };
        let server = Self { url, state: Arc::new(Mutex::new(state)), folder: TempDir::new().unwrap() };
        server.change_key();
        let (state, address) = (Arc::clone(&server.state), server.url.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, address) = (Arc::clone(&state), address.clone());
                std::thread::spawn(move || {
                    // A caller who has gone does not matter.
                    let _ = serve(stream, &state, &address);
                });
            }
        });
        server
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file with the account's key, as Google's console writes it.
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("service-account.json")
    }

    /// Revokes the account's key and writes a new one to the key file.
    pub fn change_key(&self) {
        write_key(&self.key_file(), &self.url, &mut self.state());
    }

    /// Revokes the account's key and every token.
    pub fn revoke_key(&self) {
        let other = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let mut state = self.state();
        state.public_key = other.public_key().as_ref().to_vec();
        state.tokens.clear();
    }

    /// Takes back every token that was given out.
    pub fn expire_tokens(&self) {
        self.state().tokens.clear();
    }

    /// Adds a file.
    pub fn add(&self, file: DriveFile) {
        self.state().files.push(file);
    }

    /// Writes another text to a file.
    pub fn write(&self, id: &str, text: &str) {
        let mut state = self.state();
        let file = state.files.iter_mut().find(|file| file.id == id).unwrap();
        file.version += 1;
        file.content = text.as_bytes().to_vec();
    }

    /// Deletes a file.
    pub fn delete(&self, id: &str) {
        self.state().files.retain(|file| file.id != id);
    }

    /// Fails the next `times` requests of this kind.
    pub fn fail(&self, door: DriveDoor, fault: DriveFault, times: usize) {
        self.state().faults.push(Fault { door, fault, times });
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Paths and queries of the requests so far.
    pub fn seen(&self) -> Vec<String> {
        self.state().seen.clone()
    }

    /// How often a file's text was asked for.
    pub fn reads_of(&self, id: &str) -> usize {
        let path = format!("/drive/v3/files/{id}");
        self.seen().iter().filter(|seen| seen.starts_with(&path)).count()
    }

    /// Tokens given out so far.
    pub fn granted(&self) -> usize {
        self.state().granted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn write_key(path: &Path, url: &str, state: &mut State) {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    state.public_key = key.public_key().as_ref().to_vec();
    state.tokens.clear();
    let der = STANDARD.encode(key.as_der().unwrap().as_ref());
    let file = json!({
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "0123456789abcdef",
        "private_key": format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n"),
        "client_email": ACCOUNT,
        "token_uri": format!("{url}/token"),
    });
    std::fs::write(path, file.to_string()).unwrap();
}

/// A response: status, type, body.
type Reply = (u16, &'static str, Vec<u8>);

fn json_reply(status: u16, body: &Value) -> Reply {
    (status, "application/json", body.to_string().into_bytes())
}

fn refusal(status: u16, reason: &str) -> Reply {
    let body = json!({"error": {
        "code": status,
        "message": "What Google writes here is for people.",
        "errors": [{"domain": "global", "reason": reason, "message": "As above."}],
    }});
    json_reply(status, &body)
}

struct Request {
    target: String,
    authorization: Option<String>,
    body: String,
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, address: &str) -> std::io::Result<()> {
    let Some(request) = read_request(&stream)? else { return Ok(()) };
    let url = Url::parse(&format!("{address}{}", request.target)).unwrap();
    let door = match url.path() {
        "/token" => DriveDoor::Token,
        "/drive/v3/files" => DriveDoor::List,
        _ => DriveDoor::Read,
    };
    let fault = {
        let mut state = state.lock().unwrap();
        state.seen.push(request.target.clone());
        take_fault(&mut state.faults, door)
    };
    let (status, kind, body) = match fault {
        Some(DriveFault::Hang) => {
            stream.set_read_timeout(Some(HANG))?;
            // Ends when the caller goes.
            let _ = stream.read(&mut [0]);
            return Ok(());
        }
        Some(DriveFault::Refuse(status, reason)) => refusal(status, reason),
        Some(DriveFault::Answer(body)) => (200, "application/json", body.as_bytes().to_vec()),
        None => {
            let mut state = state.lock().unwrap();
            match door {
                DriveDoor::Token => grant(&mut state, &request.body, address),
                DriveDoor::List | DriveDoor::Read if !may(&state, &request) => refusal(401, "authError"),
                DriveDoor::List => list(&state.files, &url),
                DriveDoor::Read => read(&state.files, &url),
            }
        }
    };
    let head = format!(
        "HTTP/1.1 {status} Status\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

fn take_fault(faults: &mut Vec<Fault>, door: DriveDoor) -> Option<DriveFault> {
    let at = faults.iter().position(|fault| fault.door == door)?;
    faults[at].times -= 1;
    let fault = faults[at].fault.clone();
    if faults[at].times == 0 {
        faults.remove(at);
    }
    Some(fault)
}

fn read_request(stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some(target) = line.split(' ').nth(1) else { return Ok(None) };
    let (target, mut authorization, mut length) = (target.to_owned(), None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.to_owned()),
            "content-length" => length = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { target, authorization, body: String::from_utf8_lossy(&body).into_owned() }))
}

/// A token for a statement that is right in every part.
fn grant(state: &mut State, form: &str, address: &str) -> Reply {
    let form = Url::parse(&format!("http://form/?{form}")).unwrap();
    let field = |name: &str| {
        form.query_pairs()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let statement = field("assertion");
    let right = field("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        && is_right(&statement, &state.public_key, address) == Some(true);
    if !right {
        let error = json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."});
        return json_reply(400, &error);
    }
    state.granted += 1;
    let token = format!("token-{}", state.granted);
    state.tokens.insert(format!("Bearer {token}"));
    json_reply(200, &json!({"access_token": token, "expires_in": 3_599, "token_type": "Bearer"}))
}

fn is_right(statement: &str, public_key: &[u8], address: &str) -> Option<bool> {
    let (signed, signature) = statement.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let public_key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key);
    public_key.verify(signed.as_bytes(), &decode(signature)?).ok()?;
    let header: Value = serde_json::from_slice(&decode(header)?).ok()?;
    let claims: Value = serde_json::from_slice(&decode(claims)?).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let (from, until) = (claims["iat"].as_u64()?, claims["exp"].as_u64()?);
    Some(
        header["alg"] == "RS256"
            && claims["iss"] == ACCOUNT
            && claims["aud"] == format!("{address}/token")
            && claims["scope"] == "https://www.googleapis.com/auth/drive.readonly"
            && from <= now + 5
            && until > now
            && until - from <= 3_600,
    )
}

fn may(state: &State, request: &Request) -> bool {
    request.authorization.as_ref().is_some_and(|token| state.tokens.contains(token))
}

/// One file a page, so that there is always another page.
fn list(files: &[DriveFile], url: &Url) -> Reply {
    let field =
        |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let query = field("q").unwrap_or_default();
    let names_folders = query.contains(" in parents");
    let is_folder = |id: &str| id == "root" || files.iter().any(|file| file.kind == FOLDER && file.id == id);
    let named = query.split('\'').collect::<Vec<_>>();
    let parents: Vec<_> =
        named.windows(2).filter(|pair| pair[1].starts_with(" in parents")).map(|pair| pair[0]).collect();
    if !parents.iter().all(|id| is_folder(id)) {
        return refusal(404, "notFound");
    }
    let matches = |file: &&DriveFile| {
        let is_asked =
            query.contains("trashed = false") && query.contains(&format!("mimeType = '{}'", file.kind));
        is_asked && (!names_folders || parents.contains(&file.parent.as_str()))
    };
    let found: Vec<_> = files.iter().filter(matches).collect();
    let from: usize = field("pageToken").map_or(0, |token| token.parse().unwrap());
    let page: Vec<_> = found.iter().skip(from).take(1).map(|file| file.view()).collect();
    let mut body = json!({"files": page});
    if from + 1 < found.len() {
        body["nextPageToken"] = json!((from + 1).to_string());
    }
    json_reply(200, &body)
}

fn read(files: &[DriveFile], url: &Url) -> Reply {
    let mut path = url.path().trim_start_matches("/drive/v3/files/").split('/');
    let id = path.next().unwrap_or_default();
    let is_export = path.next() == Some("export");
    let field = |name: &str, value: &str| url.query_pairs().any(|(key, known)| key == name && known == value);
    let Some(file) = files.iter().find(|file| file.id == id) else { return refusal(404, "notFound") };
    if file.kind == GOOGLE_DOC {
        if !is_export || !field("mimeType", "text/plain") {
            return refusal(403, "fileNotDownloadable");
        }
        // As Google exports text.
        let text = String::from_utf8_lossy(&file.content).replace('\n', "\r\n");
        return (200, "text/plain", format!("\u{feff}{text}").into_bytes());
    }
    if is_export || !field("alt", "media") {
        return refusal(403, "fileNotExportable");
    }
    (200, file.kind, file.content.clone())
}
