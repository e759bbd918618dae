//! The sandbox, called with real components: what loads, what a plugin sees, and what hostile ones can do.

mod behaviour;
mod hostile;
mod loading;
mod privacy_first;
mod support;
