//! The settings. One that does not exist, or has no sense, refuses every request.

use lockgate_plugin::{Refusal, Settings};
use lockgate_scan::Kind;

/// Every kind of thing, by the word in placeholders and settings.
pub(crate) const KINDS: [(Kind, &str); 7] = [
    (Kind::Email, "EMAIL"),
    (Kind::Phone, "PHONE"),
    (Kind::Iban, "IBAN"),
    (Kind::Card, "CARD"),
    (Kind::PrivateKey, "KEY"),
    (Kind::Token, "TOKEN"),
    (Kind::Health, "HEALTH"),
];

/// A kind's place in [`KINDS`].
pub(crate) fn number_of(kind: Kind) -> usize {
    match kind {
        Kind::Email => 0,
        Kind::Phone => 1,
        Kind::Iban => 2,
        Kind::Card => 3,
        Kind::PrivateKey => 4,
        Kind::Token => 5,
        Kind::Health => 6,
    }
}

#[derive(Debug)]
pub(crate) struct Options {
    /// By the place in [`KINDS`].
    pub(crate) is_kept: [bool; KINDS.len()],
    pub(crate) pictures_are_personal: bool,
}

impl Options {
    pub(crate) fn read(settings: &impl Settings) -> Result<Self, Refusal> {
        let mut options = Self { is_kept: [false; KINDS.len()], pictures_are_personal: true };
        for (key, value) in settings.all() {
            match (key.as_str(), value.as_str()) {
                ("keep", kinds) => options.keep(kinds)?,
                ("pictures", "personal") => options.pictures_are_personal = true,
                ("pictures", "ignore") => options.pictures_are_personal = false,
                ("pictures", _) => {
                    return Err(Refusal::new(
                        "the setting `pictures` of the redactor must be personal or ignore",
                    ));
                }
                _ => {
                    let reason = format!("the redactor has no setting `{key}`: it has keep, pictures");
                    return Err(Refusal::new(reason));
                }
            }
        }
        Ok(options)
    }

    fn keep(&mut self, kinds: &str) -> Result<(), Refusal> {
        for name in kinds.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let number = KINDS.iter().position(|(_, word)| word.eq_ignore_ascii_case(name));
            let Some(number) = number else {
                return Err(Refusal::new(
                    "the setting `keep` of the redactor lists kinds of email, phone, iban, card, key, token, health",
                ));
            };
            self.is_kept[number] = true;
        }
        Ok(())
    }
}
