//! Requests that a public port answers: the table, which the OpenAPI document describes.

use crate::token::TokenRole;
use amicus::client::https::Method;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    OpenApi,
    Info,
    Plan,
    Ask,
    Release,
    Acknowledge,
    Input,
    Output,
    Collected,
    AskLoad,
    Seal,
    Announce,
    PartsThere,
    Nonce,
    Part,
}

/// Nodes that answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Everywhere,
    Helper,
    Party,
}

/// How long a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// No body.
    None,
    /// A control message.
    Short,
    /// A masked input or a part of weights, of the length that the models need.
    Long,
}

/// A request that is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    pub(crate) method: Method,
    /// Its path; names in braces stand for one segment.
    pub(crate) path: &'static str,
    pub(crate) at: At,
    /// Who may ask; anybody with a token when there is none.
    pub(crate) role: Option<TokenRole>,
    pub(crate) body: Size,
}

const fn route(
    endpoint: Endpoint,
    (method, path): (Method, &'static str),
    at: At,
    role: Option<TokenRole>,
    body: Size,
) -> Route {
    Route { endpoint, method, path, at, role, body }
}

const CLIENT: Option<TokenRole> = Some(TokenRole::Client);
const OWNER: Option<TokenRole> = Some(TokenRole::Owner);

/// All of them.
pub(crate) const ROUTES: [Route; 15] = [
    route(Endpoint::OpenApi, (Method::Get, "/v1/openapi.json"), At::Everywhere, None, Size::None),
    route(Endpoint::Info, (Method::Get, "/v1/info"), At::Everywhere, None, Size::None),
    route(Endpoint::Plan, (Method::Get, "/v1/plans/{digest}"), At::Everywhere, None, Size::None),
    route(Endpoint::Ask, (Method::Post, "/v1/inferences"), At::Helper, CLIENT, Size::Short),
    route(Endpoint::Release, (Method::Get, "/v1/inferences/{id}/release"), At::Helper, CLIENT, Size::None),
    route(Endpoint::Acknowledge, (Method::Delete, "/v1/inferences/{id}"), At::Helper, CLIENT, Size::None),
    route(Endpoint::Input, (Method::Post, "/v1/inferences/{id}/input"), At::Party, CLIENT, Size::Long),
    route(Endpoint::Output, (Method::Post, "/v1/inferences/{id}/output"), At::Party, CLIENT, Size::Short),
    route(
        Endpoint::Collected,
        (Method::Post, "/v1/inferences/{id}/collected"),
        At::Party,
        CLIENT,
        Size::Short,
    ),
    route(Endpoint::AskLoad, (Method::Post, "/v1/loads"), At::Helper, OWNER, Size::Short),
    route(Endpoint::Seal, (Method::Post, "/v1/loads/{id}/seal"), At::Helper, OWNER, Size::None),
    route(Endpoint::Announce, (Method::Post, "/v1/loads/{id}"), At::Party, OWNER, Size::None),
    route(Endpoint::PartsThere, (Method::Get, "/v1/loads/{id}"), At::Party, OWNER, Size::None),
    route(Endpoint::Nonce, (Method::Put, "/v1/loads/{id}/nonce"), At::Party, OWNER, Size::Short),
    route(
        Endpoint::Part,
        (Method::Put, "/v1/loads/{id}/weights/{tensor}/{part}"),
        At::Party,
        OWNER,
        Size::Long,
    ),
];

/// What a path is.
#[derive(Debug)]
pub(crate) enum Found {
    /// A request that is answered, and what stands for the names in its path.
    Route(&'static Route, Vec<String>),
    /// The path is right, the method is not; these are.
    Methods(Vec<&'static str>),
    /// Nothing.
    Nothing,
}

impl At {
    fn is(self, helper: bool) -> bool {
        match self {
            At::Everywhere => true,
            At::Helper => helper,
            At::Party => !helper,
        }
    }
}

/// Finds what is asked of a helper or a party.
pub(crate) fn find(method: &str, path: &str, helper: bool) -> Found {
    let mut methods = Vec::new();
    for route in ROUTES.iter().filter(|route| route.at.is(helper)) {
        if let Some(values) = matched(route.path, path) {
            if route.method.name() == method {
                return Found::Route(route, values);
            }
            methods.push(route.method.name());
        }
    }
    if methods.is_empty() { Found::Nothing } else { Found::Methods(methods) }
}

/// What stands for the names of a pattern in a path, if the path fits.
fn matched(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut values = Vec::new();
    let (mut wanted, mut found) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return Some(values),
            (Some(name), Some(value)) if name.starts_with('{') && !value.is_empty() => {
                values.push(value.to_owned());
            }
            (Some(name), Some(value)) if name == value => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of methods and nodes, and whose token a request needs, as the document has them.
    #[test]
    fn the_document_describes_every_request_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(super::super::OPEN_API).unwrap();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut described = Vec::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let token = operation["security"].as_array().is_none_or(|none| !none.is_empty());
                let names: Vec<&str> = path.split('/').filter(|part| part.starts_with('{')).collect();
                let parameters = operation["parameters"].as_array().map_or(0, Vec::len);
                assert_eq!(parameters, names.len(), "{method} {path}");
                described.push((
                    format!("{} {path}", method.to_uppercase()),
                    operation["tags"][0].as_str().unwrap().to_owned(),
                    operation["x-role"].as_str().map(str::to_owned),
                    operation["requestBody"].is_object(),
                    token,
                ));
            }
        }
        let mut answered: Vec<_> = ROUTES
            .iter()
            .map(|route| {
                let at = match route.at {
                    At::Everywhere => "every node",
                    At::Helper => "helper",
                    At::Party => "party",
                };
                (
                    format!("{} {}", route.method.name(), route.path),
                    at.to_owned(),
                    route.role.map(|role| role.to_string()),
                    route.body != Size::None,
                    route.endpoint != Endpoint::OpenApi,
                )
            })
            .collect();
        described.sort();
        answered.sort();
        assert_eq!(described, answered);
    }

    #[test]
    fn paths_are_found_at_the_nodes_that_answer_them() {
        let found = |method, path, helper| match find(method, path, helper) {
            Found::Route(route, values) => format!("{:?} {}", route.endpoint, values.join(" ")),
            Found::Methods(methods) => methods.join(" "),
            Found::Nothing => "nothing".into(),
        };
        for (method, path, at_helper, at_party) in [
            ("GET", "/v1/info", "Info ", "Info "),
            ("POST", "/v1/info", "GET", "GET"),
            ("POST", "/v1/inferences", "Ask ", "nothing"),
            ("POST", "/v1/inferences/7/input", "nothing", "Input 7"),
            ("PUT", "/v1/loads/7/weights/2/3", "nothing", "Part 7 2 3"),
            ("PUT", "/v1/loads/7", "nothing", "POST GET"),
            ("GET", "/v1/plans/", "nothing", "nothing"),
            ("GET", "/v1/info/", "nothing", "nothing"),
            ("GET", "/v1/../v1/info", "nothing", "nothing"),
            ("GET", "/", "nothing", "nothing"),
        ] {
            assert_eq!(found(method, path, true), at_helper, "{method} {path}");
            assert_eq!(found(method, path, false), at_party, "{method} {path}");
        }
    }
}
