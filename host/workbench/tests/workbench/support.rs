//! Components built from this workspace, and a small world.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lockgate_api::{ChatRequest, Health, Locality, Message, Price, Role, Target};
use lockgate_gateway::OnError;
use lockgate_sandbox::{PluginSpec, Sandbox, SandboxOptions, World as PluginWorld};
use lockgate_workbench::world::{Answer, Reply, SimTarget, Tokens, World};
use lockgate_workbench::{Chain, PluginFile};

/// One sandbox for all tests: its pool is large.
pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        lockgate_workbench::sandbox(&SandboxOptions::default()).expect("there is room for a pool")
    })
}

/// The component of a guest crate of this workspace.
pub(crate) fn component(folder: &str) -> PathBuf {
    static BUILDING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = BUILDING.lock();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    lockgate_plugin_build::build(root.join(folder), &out).expect("the guest compiles").path
}

pub(crate) fn chain(folder: &str, world: PluginWorld) -> Chain {
    let id = folder.rsplit('/').next().expect("it has a name").to_owned();
    let spec = PluginSpec { id, settings: BTreeMap::new(), ..PluginSpec::default() };
    let file = PluginFile { path: component(folder), world, spec };
    Chain::load(sandbox(), &[file], OnError::Refuse).map_err(|(_, error)| error).expect("it loads")
}

pub(crate) fn target(id: &str, locality: Locality) -> SimTarget {
    let target = Target {
        id: id.to_owned(),
        model: id.to_owned(),
        locality,
        region: None,
        context_tokens: Some(8192),
        price: Some(Price { input: 3.0, output: 15.0 }),
        tools: true,
        images: false,
    };
    SimTarget {
        target: Arc::new(target),
        health: Health::default(),
        adapters: Vec::new(),
        tokens: Tokens::default(),
    }
}

pub(crate) fn says(target: &str, text: &str) -> Reply {
    Reply {
        target: Some(target.to_owned()),
        when: None,
        times: None,
        after: std::time::Duration::ZERO,
        answer: Answer { text: Some(text.to_owned()), ..Answer::default() },
    }
}

/// A small model here and a large one in a cloud; both answer.
pub(crate) fn world() -> World {
    World {
        targets: vec![target("small", Locality::Local), target("claude", Locality::Cloud)],
        replies: vec![says("small", "Paris"), says("claude", "Paris, of course")],
    }
}

pub(crate) fn user(text: &str) -> ChatRequest {
    ChatRequest::new("auto", vec![Message::text(Role::User, text)])
}
