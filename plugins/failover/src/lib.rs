//! Orders the permitted targets by health and speed, so that the first attempt is the one most likely to answer
//! soon, and keeps a conversation on one target while that is about as good as any.
//!
//! `order` is the ranking, `options` reads the settings. Nothing is remembered between requests: what a target has
//! shown lately comes from the host, and who goes where follows from a hash, so that several hosts agree.

mod options;
mod order;

use lockgate_plugin::{Attempt, Catalog, Message as _, Plan, Refusal, Request, Role, Router, Settings};

use crate::options::{Options, Sticky};

/// The policy.
pub struct Failover;

/// Bytes of a conversation's first message that tell it from others.
const OPENING_BYTES: u32 = 1024;

impl Router for Failover {
    fn route(
        request: &impl Request,
        catalog: &impl Catalog,
        settings: &impl Settings,
    ) -> Result<Plan, Refusal> {
        let options = Options::read(settings)?;
        let session = session(request, options.sticky);
        let ids = order::order(request, catalog, &options, session.as_deref());
        if ids.is_empty() {
            return Err(Refusal::new("no target is permitted for this request"));
        }
        let plan = Plan::because(match options.sticky {
            Sticky::None => "by health and speed",
            _ => "by health and speed, staying where it was",
        });
        let attempt = |id| Attempt { hedge_after: options.hedge_after, ..Attempt::on(id) };
        Ok(ids.into_iter().map(attempt).fold(plan, Plan::then))
    }
}

/// What stays together.
fn session(request: &impl Request, sticky: Sticky) -> Option<String> {
    match sticky {
        Sticky::None => None,
        Sticky::Key => request.key(),
        Sticky::Tenant => request.tenant(),
        // A conversation grows at its end, so its beginning names it: the instructions and the first question.
        Sticky::Conversation => {
            let mut opening = String::new();
            for index in 0..request.message_count() {
                let Some(message) = request.message(index) else { break };
                opening.push_str(&message.text(OPENING_BYTES));
                opening.push('\n');
                if message.role() == Role::User {
                    break;
                }
            }
            Some(opening)
        }
    }
}

lockgate_plugin::export_router!(Failover);

#[cfg(test)]
mod tests;
