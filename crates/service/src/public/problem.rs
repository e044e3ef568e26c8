//! What a request comes to when it comes to nothing: status, and four sentences.

use amicus::client::https::Problem;
use amicus::protocol::control::AbortNotice;
use hyper::StatusCode;
use std::time::Duration;

/// How a request ended, as metrics count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// What was asked for is done.
    Ok,
    /// A request that this API does not have, or a body that is wrong.
    Invalid,
    /// No token, or one that does not count here.
    Unauthenticated,
    /// A token that is not for this request.
    Forbidden,
    /// Quota, rate or lanes of the token are used up.
    Limited,
    /// Its body was too long.
    TooLarge,
    /// It did not come in time.
    Slow,
    /// Somebody else has the id, the load or the place.
    Conflict,
    /// The node refused or gave up.
    Failed,
    /// Too much is going on.
    Busy,
}

impl Outcome {
    /// All of them.
    pub(crate) const ALL: [Outcome; 10] = [
        Outcome::Ok,
        Outcome::Invalid,
        Outcome::Unauthenticated,
        Outcome::Forbidden,
        Outcome::Limited,
        Outcome::TooLarge,
        Outcome::Slow,
        Outcome::Conflict,
        Outcome::Failed,
        Outcome::Busy,
    ];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Invalid => "invalid",
            Outcome::Unauthenticated => "unauthenticated",
            Outcome::Forbidden => "forbidden",
            Outcome::Limited => "limited",
            Outcome::TooLarge => "too_large",
            Outcome::Slow => "slow",
            Outcome::Conflict => "conflict",
            Outcome::Failed => "failed",
            Outcome::Busy => "busy",
        }
    }
}

/// Who can put something right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Whoever sent the request.
    Yours,
    /// The operator of this node.
    Operators,
    /// Whom the node names, in the first sentence.
    Named,
    /// Nobody's fault.
    Nobodys,
}

impl Whose {
    fn text(self) -> &'static str {
        match self {
            Whose::Yours => "yours",
            Whose::Operators => "the operator's of this node",
            Whose::Named => "as named",
            Whose::Nobodys => "nobody's",
        }
    }
}

/// Why a request comes to nothing.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) outcome: Outcome,
    what: String,
    whose: Whose,
    next: &'static str,
    /// When to come again.
    pub(super) after: Option<Duration>,
    /// Methods that are answered here, where another was used.
    pub(super) allow: Option<String>,
}

impl Refused {
    pub(super) fn new(
        status: StatusCode,
        outcome: Outcome,
        what: impl Into<String>,
        whose: Whose,
        next: &'static str,
    ) -> Self {
        Refused { status, outcome, what: what.into(), whose, next, after: None, allow: None }
    }

    /// A request whose sender can correct it.
    pub(super) fn invalid(what: impl Into<String>, next: &'static str) -> Self {
        Refused::new(StatusCode::BAD_REQUEST, Outcome::Invalid, what, Whose::Yours, next)
    }

    /// Something that there is not, or not for this token.
    pub(super) fn missing(what: impl Into<String>, next: &'static str) -> Self {
        Refused::new(StatusCode::NOT_FOUND, Outcome::Invalid, what, Whose::Yours, next)
    }

    /// Somebody else was first.
    pub(super) fn conflict(what: impl Into<String>, next: &'static str) -> Self {
        Refused::new(StatusCode::CONFLICT, Outcome::Conflict, what, Whose::Yours, next)
    }

    /// Too much is going on.
    pub(super) fn busy(what: impl Into<String>) -> Self {
        let next = "ask again a little later";
        let busy = Refused::new(StatusCode::SERVICE_UNAVAILABLE, Outcome::Busy, what, Whose::Nobodys, next);
        busy.after(Duration::from_secs(1))
    }

    /// The node does not answer in time.
    pub(super) fn no_answer(what: impl Into<String>) -> Self {
        let next = "ask the helper how the inference ended, and begin a new one";
        Refused::new(StatusCode::GATEWAY_TIMEOUT, Outcome::Failed, what, Whose::Nobodys, next)
    }

    /// What the node says of an inference or load that it refuses or gave up.
    pub(super) fn of_node(notice: &AbortNotice) -> Self {
        let by = notice.reporter.as_ref().map(|by| format!(", as {by} says")).unwrap_or_default();
        let at = notice.accused.as_ref().map(|who| format!("{who}: ")).unwrap_or_default();
        let what = format!("{at}{} ({}{by})", notice.reason, notice.step);
        let next = match notice.rejected {
            true => "a party cheated, and nothing was released: tell the operators, and begin anew",
            false => "correct what is named, or begin anew",
        };
        let status = if notice.rejected { StatusCode::BAD_GATEWAY } else { StatusCode::UNPROCESSABLE_ENTITY };
        Refused::new(status, Outcome::Failed, what, Whose::Named, next)
    }

    /// The node is gone.
    pub(super) fn node_ended() -> Self {
        let what = "this node is ending, or cannot go on";
        let next = "wait until it serves again";
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, Outcome::Failed, what, Whose::Operators, next)
    }

    #[must_use]
    pub(super) fn after(self, after: Duration) -> Self {
        Refused { after: Some(after), ..self }
    }

    /// The answer's body.
    pub(super) fn problem(&self, place: String) -> Problem {
        let (whose, next) = (self.whose.text().to_owned(), self.next.to_owned());
        Problem { what: self.what.clone(), place, whose, next }
    }
}
