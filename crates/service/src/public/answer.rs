//! From a request to its answer.

use super::loads::Put;
use super::problem::{Outcome, Refused, Whose};
use super::routes::{Endpoint, Found, Route, Size, find};
use super::{Front, OPEN_API, inferences, inputs, loads, lock};
use crate::token::{Grant, Refusal, Token, now};
use amicus::client::https::{ID_HEADER, scope_of};
use amicus::protocol::Scope;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE,
    HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// The longest body of a short request: a control message.
const SHORT: usize = amicus::protocol::control::MAX_BYTES;
const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// What a request comes to when it comes to something.
struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: Bytes,
    id: Option<String>,
}

impl Answer {
    fn nothing() -> Self {
        Answer { status: StatusCode::NO_CONTENT, kind: "", body: Bytes::new(), id: None }
    }

    fn bytes(body: &[u8], id: Option<String>) -> Self {
        Answer { status: StatusCode::OK, kind: BYTES, body: Bytes::copy_from_slice(body), id }
    }

    fn json(value: &impl serde::Serialize) -> Result<Self, Refused> {
        let body = serde_json::to_vec(value).map_err(|_| Refused::node_ended())?;
        Ok(Answer { status: StatusCode::OK, kind: JSON, body: body.into(), id: None })
    }
}

/// Answers a request. What it is called in logs holds neither ids nor tokens.
pub(super) async fn answer(front: &Arc<Front>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let origin = request.headers().get(ORIGIN).cloned();
    let allowed =
        origin.filter(|origin| front.origins.iter().any(|known| known.as_bytes() == origin.as_bytes()));
    let mut response = match request.method() {
        &Method::OPTIONS => preflight(front, request.uri().path(), allowed.is_some()),
        _ => {
            let name = format!("{} {}", request.method(), pattern(front, &request));
            match of(front, request).await {
                Ok(answer) => {
                    front.counts.count(Outcome::Ok);
                    response(answer)
                }
                Err(refused) => refusal(front, &refused, &name),
            }
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Never a wildcard, and never with credentials.
    headers.insert(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("amicus-id, retry-after"));
    }
    response
}

/// Answers a request when too many go on.
pub(super) fn too_many(front: &Front) -> Response<Full<Bytes>> {
    refusal(front, &Refused::busy("as many requests go on as this port takes"), "a request")
}

/// What a request is, with names in place of ids.
fn pattern(front: &Front, request: &Request<Incoming>) -> &'static str {
    match find(request.method().as_str(), request.uri().path(), front.facts.is_helper()) {
        Found::Route(route, _) => route.path,
        _ => "an unknown path",
    }
}

/// Answers a browser that asks whether a page may ask.
fn preflight(front: &Front, path: &str, allowed: bool) -> Response<Full<Bytes>> {
    let methods = match find("", path, front.facts.is_helper()) {
        Found::Methods(methods) if allowed => methods.join(", "),
        _ => {
            front.counts.count(Outcome::Forbidden);
            let what = "no page of this origin may ask for this";
            let next = "ask the operator of this node to list the page's exact origin";
            let refused = Refused::new(StatusCode::FORBIDDEN, Outcome::Forbidden, what, Whose::Yours, next);
            return problem(front, &refused, "OPTIONS");
        }
    };
    front.counts.count(Outcome::Ok);
    let mut response = response(Answer::nothing());
    let headers = response.headers_mut();
    if let Ok(methods) = HeaderValue::from_str(&methods) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    if !answer.kind.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.kind));
    }
    if let Some(id) = answer.id.and_then(|id| HeaderValue::from_str(&id).ok()) {
        response.headers_mut().insert(HeaderName::from_static(ID_HEADER), id);
    }
    response
}

/// Refuses a request, counts it and logs it.
fn refusal(front: &Front, refused: &Refused, name: &str) -> Response<Full<Bytes>> {
    front.counts.count(refused.outcome);
    tracing::debug!(
        event = "api_refused",
        outcome = refused.outcome.name(),
        status = refused.status.as_u16(),
        "{name}"
    );
    problem(front, refused, name)
}

fn problem(front: &Front, refused: &Refused, name: &str) -> Response<Full<Bytes>> {
    let told = refused.problem(format!("{}, {name}", front.facts.me));
    let body = serde_json::to_vec(&told).unwrap_or_default().into();
    let mut response = response(Answer { status: refused.status, kind: JSON, body, id: None });
    let headers = response.headers_mut();
    if refused.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(allow) = refused.allow.as_ref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
        headers.insert(ALLOW, allow);
    }
    if let Some(after) = refused.after {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs() + 1));
    }
    response
}

async fn of(front: &Arc<Front>, request: Request<Incoming>) -> Result<Answer, Refused> {
    let (method, path) = (request.method().as_str().to_owned(), request.uri().path().to_owned());
    let (route, values) = match find(&method, &path, front.facts.is_helper()) {
        Found::Route(route, values) => (route, values),
        Found::Methods(methods) => {
            let what = format!("{method} is not answered here; {} is", methods.join(", "));
            let (status, next) = (StatusCode::METHOD_NOT_ALLOWED, "see /v1/openapi.json");
            let mut refused = Refused::new(status, Outcome::Invalid, what, Whose::Yours, next);
            refused.allow = Some(methods.join(", "));
            return Err(refused);
        }
        Found::Nothing => {
            let what = format!("{} answers nothing at this path", front.facts.me);
            return Err(Refused::missing(
                what,
                "see /v1/openapi.json, and whether this is asked of helper or parties",
            ));
        }
    };
    if route.endpoint == Endpoint::OpenApi {
        let body = Bytes::from_static(OPEN_API.as_bytes());
        return Ok(Answer { status: StatusCode::OK, kind: JSON, body, id: None });
    }
    let grant = authenticated(front, request.headers().get(AUTHORIZATION))?;
    if let Some(role) = route.role.filter(|role| *role != grant.role) {
        let what = format!("this token is for a {}, this is for a {role}", grant.role);
        let next = "use the other token, or ask the operator of this node for one";
        return Err(Refused::new(StatusCode::FORBIDDEN, Outcome::Forbidden, what, Whose::Yours, next));
    }
    let body = body(front, route, request).await?;
    let answer = at(front, route, &grant, &values, &body).await?;
    Ok(answer)
}

/// Whose token a request shows.
fn authenticated(front: &Front, shown: Option<&HeaderValue>) -> Result<Grant, Refused> {
    let refused = |what: String, next| {
        Refused::new(StatusCode::UNAUTHORIZED, Outcome::Unauthenticated, what, Whose::Yours, next)
    };
    let ask = "ask the operator of this node for a token";
    let text = shown.and_then(|value| value.to_str().ok()).and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    let Some(text) = text else {
        let what = "there is no token".to_owned();
        return Err(refused(what, "send the header `Authorization: Bearer TOKEN`"));
    };
    let token: Token = text.parse().map_err(|error| refused(format!("{error}"), ask))?;
    let mut tokens = lock(&front.tokens);
    if let Err(error) = tokens.refresh() {
        tracing::error!(event = "tokens_unreadable", "tokens are taken as they were before: {error}");
    }
    tokens.find(&token, now()).cloned().map_err(|refusal| match refusal {
        Refusal::OtherNode { is, ours } => {
            let what = format!("this token is of the node {is}, this is the node {ours}");
            refused(what, "use the token that the operator of this node gave: there is one for every node")
        }
        Refusal::Unknown => refused("this node does not know the token".into(), ask),
        Refusal::Expired => refused("this token has expired".into(), ask),
        Refusal::Revoked => refused("this token was taken back".into(), ask),
    })
}

/// The body of a request, as long and as slow as it may be.
async fn body(
    front: &Front,
    route: &Route,
    request: Request<Incoming>,
) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let most = match route.body {
        Size::None => 0,
        Size::Short => SHORT,
        Size::Long => front.longest,
    };
    let too_large = || {
        let what = format!("the body has more than {most} bytes, which is as long as it may be here");
        let next = "send what docs/api.md describes, of this model";
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, Outcome::TooLarge, what, Whose::Yours, next)
    };
    let body = request.into_body();
    let announced = body.size_hint().lower();
    if announced > most as u64 {
        return Err(too_large());
    }
    if body.is_end_stream() {
        return Ok(Zeroizing::default());
    }
    let patience = Duration::from_secs(u64::from(front.limits.seconds) + (announced >> 20));
    let read = async {
        // There is room for all of it from the start: what grows leaves copies behind.
        let room = usize::try_from(announced).unwrap_or(0).min(most);
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        let mut body = Limited::new(body, most);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
                true => too_large(),
                false => Refused::invalid("the body ended early", "send it again"),
            })?;
            if let Some(data) = frame.data_ref() {
                bytes.extend_from_slice(data);
            }
        }
        Ok(bytes)
    };
    tokio::time::timeout(patience, read).await.unwrap_or_else(|_| {
        let what = format!("the body was not there within {} s", patience.as_secs());
        let next = "send it faster, or over a better line";
        Err(Refused::new(StatusCode::REQUEST_TIMEOUT, Outcome::Slow, what, Whose::Yours, next))
    })
}

/// The inference or load that a path names.
fn id(values: &[String]) -> Result<Scope, Refused> {
    values.first().and_then(|text| scope_of(text)).ok_or_else(|| {
        Refused::invalid("an id has 80 hex digits", "take the id that the helper gave in `amicus-id`")
    })
}

async fn at(
    front: &Arc<Front>,
    route: &Route,
    grant: &Grant,
    values: &[String],
    body: &[u8],
) -> Result<Answer, Refused> {
    match route.endpoint {
        Endpoint::OpenApi => Err(Refused::node_ended()),
        Endpoint::Info => Answer::json(&front.facts.info(grant, &front.level().await)),
        Endpoint::Plan => {
            let text = values.first().map_or("", String::as_str);
            let shown = |model: &&Arc<super::Model>| {
                model.digest.to_string() == text && super::facts::is_for(grant, &model.name)
            };
            let model = front.facts.models.iter().find(shown);
            let missing =
                || Refused::missing("this node serves no such plan", "take a digest that /v1/info lists");
            Ok(Answer::bytes(&model.ok_or_else(missing)?.plan, None))
        }
        Endpoint::Ask => {
            let (id, ticket) = inferences::ask(front, grant, body).await?;
            Ok(Answer::bytes(ticket.body(), Some(id)))
        }
        Endpoint::Release => {
            Ok(Answer::bytes(inferences::release(front, grant, id(values)?).await?.body(), None))
        }
        Endpoint::Acknowledge => {
            inferences::acknowledge(front, grant, id(values)?)?;
            Ok(Answer::nothing())
        }
        Endpoint::Input => {
            Ok(Answer::bytes(inputs::input(front, grant, id(values)?, body).await?.body(), None))
        }
        Endpoint::Output => Ok(Answer::bytes(inputs::output(front, id(values)?, body).await?.body(), None)),
        Endpoint::Collected => {
            inputs::collected(front, id(values)?, body)?;
            Ok(Answer::nothing())
        }
        Endpoint::AskLoad => {
            let (id, granted) = loads::ask(front, grant, body).await?;
            Ok(Answer::bytes(granted.body(), Some(id)))
        }
        Endpoint::Seal => {
            loads::seal(front, grant, id(values)?).await?;
            Ok(Answer::nothing())
        }
        Endpoint::Announce => {
            loads::announce(front, grant, id(values)?).await?;
            Ok(Answer::nothing())
        }
        Endpoint::PartsThere => Answer::json(&loads::parts_there(front, grant, id(values)?)?),
        Endpoint::Nonce => {
            loads::put(front, grant, id(values)?, Put::Nonce, body).await?;
            Ok(Answer::nothing())
        }
        Endpoint::Part => {
            let number = |at: usize| values.get(at).and_then(|text| text.parse::<u32>().ok());
            let wrong = || Refused::invalid("tensor and part are numbers", "see docs/api.md");
            let (tensor, part) = number(1).zip(number(2)).ok_or_else(wrong)?;
            loads::put(front, grant, id(values)?, Put::Part { tensor, part }, body).await?;
            Ok(Answer::nothing())
        }
    }
}
