//! What a person has set for libpq's programs holds for ours, too: what the URL of a console leaves out ([`console_url`]) comes from
//! a service ([`service_file`]), from variables of the environment, from the password file ([`passfile`]) and from the account that
//! the program runs as ([`account`]), in this order.

mod account;
pub mod console_url;
pub mod passfile;
pub mod service_file;
