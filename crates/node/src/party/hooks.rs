//! Where a party can be made to deviate (feature `danger`): without that feature there is nothing
//! to hook into, and every party is honest.

use crate::inbox::Inbox;
use crate::{NodeError, Peer};
use amicus_plan::Plan;
use amicus_protocol::check::CheckMessage;
use amicus_protocol::epoch::PartyTagging;
use amicus_protocol::online::Opening;
use amicus_protocol::wire::Header;

#[cfg(feature = "danger")]
pub(super) use deviating::Hooks;
#[cfg(not(feature = "danger"))]
pub(super) use honest::Hooks;

#[cfg(not(feature = "danger"))]
mod honest {
    use super::*;

    /// Nothing: an honest party.
    pub(in crate::party) struct Hooks;

    impl Hooks {
        pub(in crate::party) fn tagging(&mut self, _: &Plan, _: &mut PartyTagging) {}

        pub(in crate::party) fn opening(&mut self, _: &Plan, _: &mut Opening) {}

        pub(in crate::party) fn check(&mut self, _: &mut CheckMessage) {}

        pub(in crate::party) fn aside(&mut self) -> impl FnOnce() + Send + 'static {
            || ()
        }

        pub(in crate::party) fn send(
            &mut self,
            inbox: &mut Inbox,
            to: &Peer,
            header: Header,
            body: &[u8],
        ) -> Result<(), NodeError> {
            Ok(inbox.send(to, header, body)?)
        }
    }
}

#[cfg(feature = "danger")]
mod deviating {
    use super::*;
    use crate::conduct::{Conduct, Outgoing};
    use amicus_net::NetError;

    /// A party's conduct; none for an honest one.
    pub(in crate::party) struct Hooks(pub(in crate::party) Option<Box<dyn Conduct>>);

    impl Hooks {
        pub(in crate::party) fn tagging(&mut self, plan: &Plan, tagging: &mut PartyTagging) {
            if let Some(conduct) = &mut self.0 {
                conduct.tagging(plan, tagging);
            }
        }

        pub(in crate::party) fn opening(&mut self, plan: &Plan, opening: &mut Opening) {
            if let Some(conduct) = &mut self.0 {
                conduct.opening(plan, opening);
            }
        }

        pub(in crate::party) fn check(&mut self, message: &mut CheckMessage) {
            if let Some(conduct) = &mut self.0 {
                conduct.check(message);
            }
        }

        pub(in crate::party) fn aside(&mut self) -> impl FnOnce() + Send + 'static {
            let first = self.0.as_mut().and_then(|conduct| conduct.aside());
            move || first.into_iter().for_each(|first| first())
        }

        pub(in crate::party) fn send(
            &mut self,
            inbox: &mut Inbox,
            to: &Peer,
            header: Header,
            body: &[u8],
        ) -> Result<(), NodeError> {
            let Some(conduct) = &mut self.0 else { return Ok(inbox.send(to, header, body)?) };
            for outgoing in conduct.send(to, header, body) {
                match outgoing {
                    Outgoing::Message(header, body) => inbox.send(to, header, &body)?,
                    Outgoing::MessageTo(other, header, body) => inbox.send(&other, header, &body)?,
                    Outgoing::Raw(bytes) => inbox.send_raw(to, &[&bytes])?,
                    Outgoing::Close => {
                        inbox.close(to);
                        return Err(NetError::Closed { peer: to.to_string() }.into());
                    }
                }
            }
            Ok(())
        }
    }
}
