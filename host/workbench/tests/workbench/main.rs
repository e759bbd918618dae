//! The workbench over real components: shipped plugins, and policies that are bad on purpose.

mod files;
mod replay;
mod simulation;
mod support;
