//! `key new`: makes an API key. The key is shown once; the configuration holds only its hash.

use lockgate_gateway::NewKey;

use crate::args::KeyCommand;
use crate::config::id_form;
use crate::failure::Failure;
use crate::terminal;

pub(super) fn key(command: KeyCommand) -> Result<(), Failure> {
    let KeyCommand::New { name } = command;
    id_form(&name).map_err(|form| Failure::unusable(format!("the key's name: {form}")))?;
    let mut random = [0; lockgate_gateway::keys::KEY_RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|error| Failure::unusable(format!("no randomness: {error}")))?;
    let key = NewKey::from_random(random);
    terminal::note("the key, which is shown only now; a client sends it as `Authorization: Bearer KEY`:");
    terminal::result(&key.secret)?;
    terminal::note("for the configuration file:");
    terminal::note(&format!("[[key]]\nname = {name:?}\nhash = \"{}\"", key.hash));
    Ok(())
}
