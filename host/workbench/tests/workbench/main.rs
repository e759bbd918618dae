//! The workbench over real components: shipped plugins, and policies that are bad on purpose.

mod simulation;
mod support;
