//! The extended protocol of statements that are pgsluice's own: they and their portals are on no server.

use std::rc::Rc;

use super::{Part, aborted, cannot_be_changed, unknown};
use crate::client::conversation::client_messages::Progress;
use crate::client::conversation::pending_replies::{LocalReply, PendingReply, Request};
use crate::client::errors;
use crate::client::request::extended_query::taken;
use crate::client::{End, Session};
use crate::protocol::frame::{Header, take_u16};
use crate::protocol::frontend;
use crate::protocol::frontend::Target;
use crate::protocol::{Report, TxStatus};
use crate::shared::Statement;
use crate::sql::{Kind, Own, OwnUse, may_use_own, set_name};

/// A message about a setting of our own, with what is needed of its names.
enum Message {
    Parse(Rc<Statement>, Box<[u8]>),
    Bind { portal: Box<[u8]>, name: Box<[u8]>, statement: Rc<Statement> },
    DescribeStatement,
    DescribePortal,
    Execute,
    Close(Named),
}

enum Named {
    Statement(Box<[u8]>),
    Portal(Box<[u8]>),
}

/// Whether it is worth asking what it does with a setting of ours: most statements are not even of the kind.
#[inline]
fn is_candidate(statement: &Statement) -> bool {
    statement
        .cached
        .analysis
        .single()
        .is_some_and(|one| matches!(one.kind, Kind::Utility | Kind::Session) || set_name(one).is_some())
}

/// Number of parameters and whether the result is wanted in binary form, from what follows the names in a Bind.
fn bound(rest: &[u8]) -> Option<(u16, bool)> {
    let (formats, rest) = take_u16(rest).ok()?;
    let (parameters, rest) = take_u16(rest.get(usize::from(formats) * 2..)?).ok()?;
    if parameters > 0 {
        return Some((parameters, false));
    }
    let (results, rest) = take_u16(rest).ok()?;
    Some((0, results > 0 && take_u16(rest).ok()?.0 == 1))
}

impl Session {
    /// Looks for settings of our own in a message of the extended protocol.
    pub(in crate::client) fn own_extended(&mut self, header: Header) -> Result<Option<Progress>, End> {
        if header.tag != b'P' && !self.names.has_own() {
            return Ok(None);
        }
        let Some((used, message)) = self.own_message(header)? else { return Ok(None) };
        if self.conversation.replies().readies() > 0 {
            return Ok(Some(Progress::AwaitReplies));
        }
        let failed = self.conversation.status() == TxStatus::Failed && !self.lease.is_none();
        let part = match message {
            Message::Parse(..) | Message::Bind { .. } | Message::DescribeStatement if failed => return Ok(None),
            Message::DescribePortal | Message::Execute if failed => {
                return Ok(Some(self.own_error(header, aborted())));
            }
            Message::Parse(statement, _) if used == OwnUse::SetsUnknown => {
                let report = statement.cached.analysis.single().map_or_else(aborted, unknown);
                return Ok(Some(self.own_error(header, report)));
            }
            Message::Parse(statement, name) => {
                if let Some(report) = self.refused_own_parse(&name, &statement) {
                    return Ok(Some(self.own_error(header, report)));
                }
                self.drop_bytes(header.total);
                let before = self.names.known(&name);
                self.say(PendingReply::seen(Request::Local(LocalReply::ParseComplete)).renaming(&name, before));
                self.names.prepare_own(&name, statement);
                return Ok(Some(Progress::Consumed));
            }
            Message::Bind { portal, name, statement } => {
                let bind = frontend::bind(self.body(header))?;
                let Some((parameters, binary)) = bound(bind.rest) else {
                    let report = errors::protocol_violation("insufficient data left in message");
                    return Ok(Some(self.own_error(header, report)));
                };
                if parameters > 0 {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    let text = format!(
                        "bind message supplies {parameters} parameters, but prepared statement \"{name}\" requires 0"
                    );
                    return Ok(Some(self.own_error(header, errors::protocol_violation(text))));
                }
                if let Some(report) = self.lacks_memory_to_bind(&portal, &statement) {
                    return Ok(Some(self.own_error(header, report)));
                }
                if !self.names.bind_own(&portal, statement, binary) {
                    return Ok(Some(self.own_error(header, errors::limit_exceeded("too many portals"))));
                }
                Part::Bound
            }
            Message::Close(name) => {
                self.drop_bytes(header.total);
                let mut said = PendingReply::seen(Request::Local(LocalReply::CloseComplete));
                match name {
                    Named::Statement(name) => {
                        said = said.renaming(&name, self.names.known(&name));
                        self.names.forget(&name);
                    }
                    Named::Portal(name) => self.names.forget_portal(&name),
                }
                self.say(said);
                return Ok(Some(Progress::Consumed));
            }
            Message::DescribeStatement => Part::Statement(used),
            Message::DescribePortal => {
                let binary = match frontend::target(self.body(header))? {
                    Target::Portal(name) => self.names.is_binary(name),
                    Target::Statement(_) => false,
                };
                Part::Portal { used, binary }
            }
            Message::Execute => match self.own_execute(header, used)? {
                Ok(part) => part,
                Err(report) => return Ok(Some(self.own_error(header, report))),
            },
        };
        self.drop_bytes(header.total);
        self.say(PendingReply::seen(Request::Local(LocalReply::Own(part))));
        Ok(Some(Progress::Consumed))
    }

    /// What an Execute answers; that of a SET is carried out.
    fn own_execute(&mut self, header: Header, used: OwnUse) -> Result<Result<Part, Report>, End> {
        Ok(match used {
            OwnUse::Shows(own) => Ok(Part::Row(own)),
            OwnUse::SetsUnknown => Err(aborted()),
            OwnUse::Sets(Own::Cluster) if self.lease.is_none() || self.is_between_transactions() => {
                let (portal, _) = frontend::execute(self.body(header))?;
                let statement = self.names.portal(portal).cloned();
                let single = statement.as_ref().and_then(|one| Some((one.cached.analysis.single()?, &one.cached.text)));
                match single {
                    Some((single, text)) => self.set_cluster(single, text).map(|()| Part::Set(single.tag)),
                    None => Err(aborted()),
                }
            }
            OwnUse::Sets(own) => Err(cannot_be_changed(own)),
        })
    }

    /// The error for a Parse under a name that is taken, or for which there is no room.
    fn refused_own_parse(&self, name: &[u8], statement: &Statement) -> Option<Report> {
        if name.is_empty() {
            return None;
        }
        let known = self.names.known(name).map(|_| taken(name));
        known.or_else(|| self.lacks_memory_for(name, statement))
    }

    /// What a message is if it is about a setting of our own.
    fn own_message(&self, header: Header) -> Result<Option<(OwnUse, Message)>, End> {
        let body = self.body(header);
        let (statement, message) = match header.tag {
            b'P' => {
                let parse = frontend::parse(body)?;
                if !may_use_own(parse.text) {
                    return Ok(None);
                }
                let context = self.lex_context();
                let cached = self.core.verdicts.borrow_mut().get_or_analyze(parse.text, context);
                let statement = self.core.statements.get(cached, parse.oids, context, 0, self.settings.vars());
                (statement.clone(), Message::Parse(statement, parse.name.into()))
            }
            b'B' => {
                let bind = frontend::bind(body)?;
                let Some(statement) = self.names.statement(bind.statement) else { return Ok(None) };
                if !is_candidate(statement) {
                    return Ok(None);
                }
                let (portal, name) = (bind.portal.into(), bind.statement.into());
                (statement.clone(), Message::Bind { portal, name, statement: statement.clone() })
            }
            b'D' | b'C' => {
                let (named, statement, describes) = match frontend::target(body)? {
                    Target::Statement(name) => {
                        (Named::Statement(name.into()), self.names.statement(name), Message::DescribeStatement)
                    }
                    Target::Portal(name) => {
                        (Named::Portal(name.into()), self.names.portal(name), Message::DescribePortal)
                    }
                };
                let Some(statement) = statement.filter(|statement| is_candidate(statement)) else { return Ok(None) };
                (statement.clone(), if header.tag == b'D' { describes } else { Message::Close(named) })
            }
            b'E' => match self.names.portal(frontend::execute(body)?.0) {
                Some(statement) if is_candidate(statement) => (statement.clone(), Message::Execute),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(self.own_use_of(&statement.cached).map(|used| (used, message)))
    }

    /// An error at this place of a batch.
    fn own_error(&mut self, header: Header, report: Report) -> Progress {
        if self.has_right_lease() {
            self.conversation.batch_mut().go_on();
            return self.fail_in_place(header, report);
        }
        self.answer_error(header, &report);
        Progress::Consumed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_bind() {
        assert_eq!(bound(frontend::NO_PARAMETERS), Some((0, false)));
        assert_eq!(bound(&[0, 0, 0, 0, 0, 1, 0, 1]), Some((0, true)));
        assert_eq!(bound(&[0, 1, 0, 1, 0, 2]), Some((2, false)));
        assert_eq!(bound(&[0, 9, 0]), None);
    }
}
