//! The console's conversation.
use crate::hub::Core;
use crate::session::startup::Guest;
use std::rc::Rc;
/// Serves a console.
pub async fn serve(_core: Rc<Core>, _guest: Box<Guest>) {}
