//! The console's conversation.
use std::rc::Rc;
use crate::hub::Core;
use crate::session::startup::Guest;
/// Serves a console.
pub async fn serve(_core: Rc<Core>, _guest: Box<Guest>) {}
