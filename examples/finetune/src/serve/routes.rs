//! What is at which path.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::access::{allow_origin, check_host, check_token, preflight};
use super::api_error::ApiError;
use super::classify;
use super::embeddings;
use super::jobs::Jobs;
use super::queue::Queue;
use super::replies::Reply;
use super::request::Interface;
use super::settings::ServeSettings;
use super::shared::Shared;
use super::text_jobs::TextJob;
use super::worker::{Event, Job};

const PAGE: &str = include_str!("page.html");
/// The page has everything in itself, and talks to this server alone.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const PATHS: [&str; 9] = [
    "/",
    "/health",
    "/metrics",
    "/v1/models",
    "/v1/models/{name}",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/classify",
];
/// Bodies that are too large are read up to so many times the limit, so that a client that sends all of it before it
/// listens hears why it was refused.
const READ_ON: usize = 4;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(PATHS[0], get(page))
        .route(PATHS[1], get(health))
        .route(PATHS[2], get(metrics))
        .route(PATHS[3], get(models))
        .route("/v1/models/{*name}", get(model))
        .route(PATHS[5], post(chat))
        .route(PATHS[6], post(completions))
        .route(PATHS[7], post(embed))
        .route(PATHS[8], post(classify))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(shared.clone(), around))
        .with_state(shared)
}

/// Before and after every request.
async fn around(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response<Body> {
    let headers = request.headers().clone();
    let path = request.uri().path().to_string();
    let settings = &shared.settings;
    let asks_first = *request.method() == Method::OPTIONS && !settings.cors.is_empty();
    let checked = if settings.token.is_none() && shared.is_local {
        check_host(&headers)
    } else {
        Ok(())
    };
    let mut response = match checked {
        Err(error) => error.into_response(),
        // Browsers send no token with this question.
        Ok(()) if asks_first => preflight(),
        Ok(()) => match check_token(settings.token.as_deref(), &path, &headers) {
            Err(error) => error.into_response(),
            Ok(()) => next.run(request).await,
        },
    };
    allow_origin(&settings.cors, &headers, &mut response);
    let known = PATHS.iter().find(|known| **known == path).copied();
    let known = known.or(path.starts_with("/v1/models/").then_some(PATHS[4]));
    let status = response.status().as_u16();
    shared.metrics.request(known.unwrap_or("other"), status);
    response
}

async fn nothing(request: Request) -> ApiError {
    ApiError::path(request.uri().path())
}

async fn wrong_method(request: Request) -> ApiError {
    ApiError::method(request.method().as_str(), request.uri().path())
}

async fn page() -> Response<Body> {
    let mut response = Response::new(Body::from(PAGE));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(PAGE_POLICY),
    );
    response
}

async fn health(State(shared): State<Arc<Shared>>) -> Response<Body> {
    if shared.is_alive.load(Ordering::Relaxed) {
        return of_json(&json!({"status": "ok"}));
    }
    let mut response = of_json(&json!({"status": "the model has stopped"}));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let mut response = Response::new(Body::from(shared.metrics.text(shared.jobs.len())));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

async fn models(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let names = shared.models.iter();
    let data: Vec<Value> = names
        .map(|(name, template)| entry(&shared, name, template.as_deref()))
        .collect();
    of_json(&json!({"object": "list", "data": data}))
}

async fn model(
    State(shared): State<Arc<Shared>>,
    axum::extract::Path(name): axum::extract::Path<String>,
) -> Result<Response<Body>, ApiError> {
    let found = shared.models.iter().find(|(known, _)| *known == name);
    match found {
        Some((name, template)) => Ok(of_json(&entry(&shared, name, template.as_deref()))),
        None => Err(shared.unknown_model(&name)),
    }
}

/// A model; the last fields are not OpenAI's.
fn entry(shared: &Shared, name: &str, template: Option<&str>) -> Value {
    json!({
        "id": name, "object": "model", "created": shared.created, "owned_by": "finetune",
        "chat_template": template, "context_length": shared.context,
    })
}

async fn chat(state: State<Arc<Shared>>, request: Request) -> Result<Response<Body>, ApiError> {
    answer(state.0, request, Interface::Chat).await
}

async fn completions(
    state: State<Arc<Shared>>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    answer(state.0, request, Interface::Completions).await
}

async fn answer(
    shared: Arc<Shared>,
    request: Request,
    interface: Interface,
) -> Result<Response<Body>, ApiError> {
    check_content_type(request.headers())?;
    let body = read_body(request, &shared.settings).await?;
    let wanted = interface.parse(&body)?;
    drop(body);
    let model = shared.model(wanted.request.model.as_deref())?;
    let Jobs::Answers(queue) = &shared.jobs else {
        let problem = format!("`{model}` is no language model: {}", use_of(&shared.jobs));
        return Err(ApiError::field("model", problem));
    };
    let (events, mut heard) = unbounded_channel();
    let job = Job {
        request: wanted.request,
        prompt_field: interface.prompt_field(),
        events,
        since: Instant::now(),
        time_limit: shared.settings.time_limit,
    };
    queue.push(job).map_err(ApiError::of_queue)?;
    // Until the prompt is read, errors have their own status. The model's thread does not look at requests that wait.
    let limit = shared.settings.time_limit;
    match timeout(limit, heard.recv()).await {
        Err(_) => return Err(ApiError::timeout(limit)),
        Ok(Some(Event::Failed(error))) => return Err(error),
        Ok(None) => return Err(ApiError::stopping()),
        Ok(Some(_)) => {}
    }
    let reply = shared.reply(interface, model, wanted.with_usage);
    if wanted.stream {
        return Ok(streamed(reply, heard));
    }
    let mut text = String::new();
    loop {
        match heard.recv().await {
            Some(Event::Piece(piece)) => text += &piece,
            Some(Event::Done(reason, numbers)) => {
                return Ok(of_json(&reply.whole(&text, reason, numbers)));
            }
            Some(Event::Failed(error)) => return Err(error),
            Some(Event::Started) => {}
            None => return Err(ApiError::stopping()),
        }
    }
}

async fn embed(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    check_content_type(request.headers())?;
    let body = read_body(request, &shared.settings).await?;
    let Jobs::Embeddings { queue, width } = &shared.jobs else {
        let problem = format!(
            "/v1/embeddings is for encoders of texts: {}",
            use_of(&shared.jobs)
        );
        return Err(ApiError::field("model", problem));
    };
    let wanted = embeddings::Wanted::parse(&body, *width)?;
    drop(body);
    let model = shared.model(wanted.model.as_deref())?;
    let embedded = ask(&shared, queue, wanted.texts).await?;
    Ok(of_json(&embeddings::reply(
        &model,
        &embedded,
        wanted.as_bytes,
    )))
}

async fn classify(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    check_content_type(request.headers())?;
    let body = read_body(request, &shared.settings).await?;
    let Jobs::Classes {
        queue,
        labels,
        takes_pairs,
    } = &shared.jobs
    else {
        let problem = format!(
            "/classify is for classifiers of texts: {}",
            use_of(&shared.jobs)
        );
        return Err(ApiError::field("model", problem));
    };
    let wanted = classify::Wanted::parse(&body, *takes_pairs)?;
    drop(body);
    let model = shared.model(wanted.model.as_deref())?;
    let found = ask(&shared, queue, wanted.texts).await?;
    let number = shared.replies.fetch_add(1, Ordering::Relaxed);
    let number = format!("{:x}-{number:x}", shared.created);
    Ok(of_json(&classify::reply(&model, labels, &found, &number)))
}

/// What the model of this server is for.
fn use_of(jobs: &Jobs) -> &'static str {
    match jobs {
        Jobs::Answers(_) => "this server has a language model, which writes",
        Jobs::Embeddings { .. } => "this server has an encoder, for /v1/embeddings",
        Jobs::Classes { .. } => "this server has a classifier, for /classify",
    }
}

/// What the model makes of these texts.
async fn ask<I, O>(
    shared: &Shared,
    queue: &Queue<TextJob<I, O>>,
    texts: Vec<I>,
) -> Result<O, ApiError> {
    let (reply, heard) = oneshot::channel();
    let job = TextJob { texts, reply };
    queue.push(job).map_err(ApiError::of_queue)?;
    let limit = shared.settings.time_limit;
    match timeout(limit, heard).await {
        Err(_) => Err(ApiError::timeout(limit)),
        Ok(Err(_)) => Err(ApiError::stopping()),
        Ok(Ok(answered)) => answered,
    }
}

/// The parts as server-sent events, as they come.
fn streamed(reply: Reply, heard: UnboundedReceiver<Event>) -> Response<Body> {
    let first = reply.first().as_ref().map(event).unwrap_or_default();
    let rest = stream::unfold(Some((reply, heard)), |state| async {
        let (reply, mut heard) = state?;
        let (text, is_last) = match heard.recv().await {
            Some(Event::Started) => (String::new(), false),
            Some(Event::Piece(piece)) => (event(&reply.piece(&piece)), false),
            Some(Event::Done(reason, numbers)) => {
                let parts = reply.last(reason, numbers);
                let parts: String = parts.iter().map(event).collect();
                (parts + "data: [DONE]\n\n", true)
            }
            Some(Event::Failed(error)) => (event(&error.json()), true),
            None => (event(&ApiError::stopping().json()), true),
        };
        Some((text, (!is_last).then_some((reply, heard))))
    });
    let all = stream::once(async { first }).chain(rest);
    let mut response = Response::new(Body::from_stream(all.map(Ok::<String, Infallible>)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies such as nginx would collect the parts.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn event(part: &Value) -> String {
    format!("data: {part}\n\n")
}

fn of_json(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// JSON alone: a page of another site can send other types without asking.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default();
    if kind.trim().eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(ApiError::content_type())
    }
}

async fn read_body(request: Request, settings: &ServeSettings) -> Result<Vec<u8>, ApiError> {
    let most = settings.max_body;
    let reading = async {
        let mut pieces = request.into_body().into_data_stream();
        let (mut body, mut length) = (Vec::new(), 0);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| ApiError::body("the body broke off"))?;
            length += piece.len();
            if length <= most {
                body.extend_from_slice(&piece);
            } else {
                body = Vec::new();
            }
            if length > READ_ON.saturating_mul(most) {
                break;
            }
        }
        if length > most {
            return Err(ApiError::too_large(most));
        }
        Ok(body)
    };
    match timeout(settings.arrival, reading).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::slow_body()),
    }
}
