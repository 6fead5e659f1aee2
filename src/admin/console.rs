//! Temporary: until the real console is merged.
use crate::gate::*;
use crate::hub::Core;
use crate::session::startup::Guest;
use crate::wire::{Report, TxStatus, back, frame, front};
use std::rc::Rc;
/// Serves a console.
pub async fn serve(core: Rc<Core>, mut guest: Box<Guest>) {
    let mut out = Vec::new();
    back::authentication_ok(&mut out);
    back::ready(&mut out, TxStatus::Idle);
    let _ = guest.stream.write_all(&out).await;
    let mut input = Vec::new();
    loop {
        let h = loop {
            if let Ok(Some(h)) = frame::peek_front(&input, 100000) {
                if h.total <= input.len() {
                    break h;
                }
            }
            if guest.stream.read_some(&mut input, 4096).await.is_err() {
                return;
            }
        };
        let msg: Vec<u8> = input.drain(..h.total).collect();
        if h.tag != b'Q' {
            return;
        }
        let text = String::from_utf8_lossy(front::query(&msg[5..]).unwrap_or_default()).into_owned();
        let mut out = Vec::new();
        let who = Who { user: guest.user.to_string(), address: None };
        let up = text.to_uppercase();
        if up.starts_with("SHOW") {
            let names = ["database", "mode", "epoch", "message"];
            back::row_description(&mut out, &names.map(|name| back::Column { name, oid: 25 }));
            for row in core.hub.gates.show() {
                let v = [
                    row.database.clone(),
                    row.mode.to_string(),
                    row.epoch.to_string(),
                    row.terms.as_ref().and_then(|t| t.message.clone()).unwrap_or_default(),
                ];
                back::data_row(&mut out, v.iter().map(|x| Some(x.as_bytes())));
            }
            back::command_complete(&mut out, "SHOW");
        } else {
            let mut pairs = Vec::new();
            if let (Some(a), Some(b)) = (text.find('('), text.rfind(')')) {
                for part in text[a + 1..b].split(", ") {
                    let (k, v) = part.trim().split_once(' ').unwrap_or((part, ""));
                    pairs.push((k.to_owned(), v.trim_matches('\'').to_owned()));
                }
            }
            let options = OnOptions::from_pairs(
                &pairs,
                OnDefaults { drain_timeout: std::time::Duration::from_secs(10), ..OnDefaults::default() },
            );
            let r = match options {
                Ok(o) if up.contains(" ON ") => {
                    core.hub.gates.maintenance_on(Target::One("app".into()), o, who, Wait::Quiesced)
                }
                Ok(_) => core.hub.gates.maintenance_off(Target::One("app".into()), who),
                Err(e) => Err(e),
            };
            match r {
                Ok(mut handle) => {
                    for (_, o) in handle.outcome().await {
                        match o {
                            Ok(o) => {
                                let v = [
                                    o.database.clone(),
                                    o.mode.to_string(),
                                    o.changed.to_string(),
                                    o.epoch.to_string(),
                                    String::new(),
                                    String::new(),
                                    o.quiesced_lsn.map(|l| l.to_string()).unwrap_or_default(),
                                ];
                                back::row_description(
                                    &mut out,
                                    &["database", "mode", "changed", "epoch", "since", "quiesced_at", "quiesced_lsn"]
                                        .map(|name| back::Column { name, oid: 25 }),
                                );
                                back::data_row(&mut out, v.iter().map(|x| Some(x.as_bytes())));
                                back::command_complete(&mut out, "MAINTENANCE");
                            }
                            Err(e) => Report::error("XX000", e.to_string()).write(&mut out),
                        }
                    }
                }
                Err(e) => Report::error("XX000", e.to_string()).write(&mut out),
            }
        }
        back::ready(&mut out, TxStatus::Idle);
        if guest.stream.write_all(&out).await.is_err() {
            return;
        }
    }
}
