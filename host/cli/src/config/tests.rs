use std::path::Path;

use lockgate_api::{Label, Locality};

use super::*;

const WHOLE: &str = r#"
[server]
listen = "127.0.0.1:9000"
named = "route"
hosts = ["gate.internal", "::1", "my_box"]
[[provider]]
id = "bedrock"
kind = "bedrock"
region = "eu-central-1"
[[provider]]
id = "studio"
kind = "openai-compatible"
endpoint = "http://127.0.0.1:1234/v1"
locality = "local"
[[target]]
id = "claude"
provider = "bedrock"
model = "anthropic.claude-sonnet-4-5-20250929-v1:0"
price = { input = 3.00, output = 15.00 }
[[target]]
id = "small"
provider = "studio"
model = "qwen3-4b"
context = 8192
tools = false
[[key]]
name = "clinic"
hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
labels = ["local-only"]
"#;

fn parse_text(text: &str) -> Result<Config, Problems> {
    parse(Path::new("lockgate.toml"), text)
}

#[test]
fn a_whole_configuration_is_understood() {
    let config = parse_text(WHOLE).expect("it is valid");
    assert_eq!(config.server.listen.port(), 9000);
    assert_eq!(config.server.named, Named::Route);
    assert_eq!(config.providers[0].locality, Locality::Cloud);
    assert_eq!(config.providers[1].locality, Locality::Local);
    assert_eq!(config.targets[0].price.expect("it has one").output, 15.0);
    assert_eq!(config.targets[1].context_tokens, Some(8192));
    assert!(config.targets[0].tools && !config.targets[1].tools);
    assert_eq!(config.keys[0].tenant, "clinic");
    assert_eq!(config.keys[0].labels, [Label::LocalOnly]);
}

#[test]
fn an_adapter_is_named_after_its_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("m.gguf"), "").expect("it is written");
    std::fs::create_dir(folder.path().join("triage")).expect("it is made");
    let text = "[[adapter]]\nid = \"triage\"\nmodel = \"m\"\npath = \"triage\"\nscale = 0.5\n\
                [[model]]\nid = \"m\"\npath = \"m.gguf\"";
    let path = folder.path().join("lockgate.toml");
    let config = parse(&path, text).expect("it is valid");
    let adapter = &config.adapters[0];
    assert_eq!((adapter.target_id().as_str(), adapter.scale), ("m:triage", 0.5));
    assert_eq!(adapter.path, folder.path().join("triage"));
    assert_eq!(adapter.place, format!("{}:4:8", path.display()));
}

#[test]
fn a_component_is_named_after_its_model_and_can_be_granted() {
    let text = "[[plugin]]\nid = \"r\"\npath = \"Cargo.toml\"\nworld = \"router\"\ngrants = [\"inference:m:triage\"]\n\
                [[plugin]]\nid = \"triage\"\npath = \"Cargo.toml\"\nworld = \"adapter\"\nmodel = \"m\"\n\
                limits = { generation_ms = 100 }\n\
                [[model]]\nid = \"m\"\npath = \"Cargo.toml\"";
    let config = parse_text(text).expect("it is valid");
    let component = &config.components[0];
    assert_eq!((component.target_id().as_str(), component.plugin.id.as_str()), ("m:triage", "triage"));
    assert_eq!(component.plugin.limits.generation_ms, Some(100));
    assert_eq!(
        (component.place.as_str(), component.model_place.as_str()),
        ("lockgate.toml:8:8", "lockgate.toml:10:9")
    );
    assert!(config.routers[0].plugin.is_some() && config.guards.is_empty());
    assert_eq!(config.plugin_files().len(), 2, "its file is watched");
}

#[test]
fn an_empty_configuration_has_no_model() {
    let config = parse_text("").expect("it is valid");
    assert!(config.models.is_empty() && config.routers[0].plugin.is_none());
    assert_eq!(config.server.listen.to_string(), DEFAULT_LISTEN);
}

#[test]
fn plugins_keep_their_order_and_halves_share_an_id() {
    let entry = |id: &str, world: &str| {
        format!("[[plugin]]\nid = \"{id}\"\npath = \"Cargo.toml\"\nworld = \"{world}\"\n")
    };
    let text = [
        entry("b", "preprocessor"),
        entry("r", "router"),
        entry("a", "guard"),
        entry("b", "guard"),
        entry("a", "preprocessor"),
        entry("c", "preprocessor"),
    ];
    let config = parse_text(&text.concat()).expect("it is valid");
    let ids = |plugins: &[PluginConfig]| plugins.iter().map(|plugin| plugin.id.clone()).collect::<Vec<_>>();
    assert_eq!(config.routers[0].id(), "r");
    assert_eq!(ids(&config.preprocessors), ["b", "a", "c"]);
    assert_eq!(ids(&config.guards), ["a", "b"]);
}

/// Text, and the place and words that the complaint must hold.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("[server]\nhosts = [\"a.example\", \"https://b.example\"]", "lockgate.toml:2:23", "no scheme"),
    ("[server]\nhosts = [\"b.example:8080\"]", "lockgate.toml:2:10", "names alone"),
    ("[server]\nhosts = [\"*.example\"]", "lockgate.toml:2:10", "names alone"),
    ("[server]\nlog_requests = \"src\"", "lockgate.toml:2:16", "is a folder"),
    ("[server]\nlog_requests = \"none/a.jsonl\"", "lockgate.toml:2:16", "does not exist"),
    ("[server]\nlog_requests = 3", "lockgate.toml:2:16", "true, false or the path of a file"),
    ("[[key]]\nname = \"a\"\nhash = \"\"\ntenant = \"\"", "lockgate.toml:4:10", "a tenant's name"),
    (
        "[[plugin]]\nid = \"a\"\npath = \"Cargo.toml\"\nworld = \"adapter\"",
        "lockgate.toml:2:6",
        "an adapter needs model = ",
    ),
    (
        "[[plugin]]\nid = \"a\"\npath = \"Cargo.toml\"\nworld = \"adapter\"\nmodel = \"n\"",
        "lockgate.toml:5:9",
        "there is no model `n`; an adapter is for a [[model]] of this file",
    ),
    (
        "[[plugin]]\nid = \"g\"\npath = \"Cargo.toml\"\nworld = \"guard\"\nmodel = \"m\"",
        "lockgate.toml:5:9",
        "`model` is for an adapter",
    ),
    (
        "[[plugin]]\nid = \"a\"\npath = \"Cargo.toml\"\nworld = \"adapter\"\nmodel = \"m\"\nmode = \"shadow\"\n\
         [[model]]\nid = \"m\"\npath = \"Cargo.toml\"",
        "lockgate.toml:6:8",
        "only a router can be",
    ),
    (
        "[[plugin]]\nid = \"a\"\npath = \"Cargo.toml\"\nworld = \"adapter\"\nmodel = \"m\"\n\
         [[model]]\nid = \"m\"\npath = \"Cargo.toml\"\n\
         [[adapter]]\nid = \"a\"\nmodel = \"m\"\npath = \"Cargo.toml\"",
        "lockgate.toml:2:6",
        "the id `m:a` is taken by another model, adapter or target",
    ),
    (
        "[[plugin]]\nid = \"a\"\npath = \"Cargo.toml\"\nworld = \"adapter\"\nmodel = \"m\"\non_error = \"first-target\"\n\
         [[model]]\nid = \"m\"\npath = \"Cargo.toml\"",
        "lockgate.toml:6:12",
        "a preprocessor, guard or adapter that fails always refuses",
    ),
    ("[server]\nlisten_on = \"x\"", "lockgate.toml:2:1", "did you mean `listen`?"),
    ("[servr]", "lockgate.toml:1:2", "did you mean `server`?"),
    ("[server]\nnamed = \"drect\"", "lockgate.toml:2:9", "did you mean `direct`?"),
    ("[server]\nlisten = \"localhost\"", "lockgate.toml:2:10", "127.0.0.1:8080"),
    ("[server]\nair_gapped = \"yes\"", "lockgate.toml:2:14", "boolean"),
    ("[server", "lockgate.toml:1:8", ""),
    ("[[model]]\nid = \"m\"\npath = \"none.gguf\"", "lockgate.toml:3:8", "there is no model file none.gguf"),
    ("[[model]]\nid = \"auto\"\npath = \"Cargo.toml\"", "lockgate.toml:2:6", "ask a router"),
    (
        "[[model]]\nid = \"m\"\npath = \"Cargo.toml\"\ndevice = \"tpu\"",
        "lockgate.toml:4:10",
        "use auto, cpu or cuda:NUMBER",
    ),
    (
        "[[model]]\nid = \"m\"\npath = \"Cargo.toml\"\ndevice = \"cuda:x\"",
        "lockgate.toml:4:10",
        "unknown device `cuda:x`",
    ),
    (
        "[[model]]\nid = \"m\"\npath = \"Cargo.toml\"\ngpu_layers = 0",
        "lockgate.toml:4:14",
        "a number from 1 on",
    ),
    (
        "[[model]]\nid = \"m\"\npath = \"Cargo.toml\"\ngpu_layers = \"all\"",
        "lockgate.toml:4:14",
        "`gpu_layers` is",
    ),
    (
        "[[model]]\nid = \"m\"\npath = \"Cargo.toml\"\nkv = \"q8\"",
        "lockgate.toml:4:6",
        "did you mean `q8_0`?",
    ),
    ("[[model]]\npath = \"Cargo.toml\"", "lockgate.toml:1:1", "missing field `id`"),
    (
        "[[model]]\nid = \"small\"\npath = \"Cargo.toml\"\n\
         [[adapter]]\nid = \"a\"\nmodel = \"smal\"\npath = \"none\"\nscale = 0",
        "lockgate.toml:6:9",
        "there is no model `smal`; did you mean `small`?",
    ),
    (
        "[[adapter]]\nid = \"a\"\nmodel = \"m\"\npath = \"none\"",
        "lockgate.toml:3:9",
        "an adapter is for a [[model]]",
    ),
    (
        "[[adapter]]\nid = \"a\"\nmodel = \"m\"\npath = \"none\"",
        "lockgate.toml:4:8",
        "there is no adapter none",
    ),
    (
        "[[adapter]]\nid = \"a\"\nmodel = \"m\"\npath = \"Cargo.toml\"\nscale = 0.0",
        "lockgate.toml:5:9",
        "a finite number and not 0",
    ),
    (
        "[[adapter]]\nid = \"a\"\nmodel = \"m\"\npath = \"Cargo.toml\"\nscale = nan",
        "lockgate.toml:5:9",
        "a finite number and not 0",
    ),
    (
        "[[adapter]]\nid = \"a b\"\nmodel = \"m\"\npath = \"x\"",
        "lockgate.toml:2:6",
        "an id is 1 to 128 letters",
    ),
    ("[[adapter]]\nid = \"a\"\nmodel = \"m\"\nfile = \"x\"", "lockgate.toml:4:1", "unknown field `file`"),
    (
        "[[model]]\nid = \"m\"\npath = \"Cargo.toml\"\n[[model]]\nid = \"m:a\"\npath = \"Cargo.toml\"\n\
         [[adapter]]\nid = \"a\"\nmodel = \"m\"\npath = \"Cargo.toml\"",
        "lockgate.toml:8:6",
        "the id `m:a` is taken",
    ),
    ("[[provider]]\nid = \"p\"\nkind = \"bedrok\"", "lockgate.toml:3:8", "did you mean `bedrock`?"),
    ("[[provider]]\nid = \"p\"\nkind = \"bedrock\"", "lockgate.toml:2:6", "needs region"),
    (
        "[[provider]]\nid = \"p\"\nkind = \"bedrock\"\nregion = \"x\"\nlocality = \"local\"",
        "lockgate.toml:5:12",
        "its locality is \"cloud\"",
    ),
    (
        "[[provider]]\nid = \"p\"\nkind = \"openai-compatible\"\nendpoint = \"http://h/v1\"",
        "lockgate.toml:2:6",
        "must say where it is",
    ),
    (
        "[[provider]]\nid = \"p\"\nkind = \"openai-compatible\"\nendpoint = \"http://u:p@h/v1\"\nlocality = \"lan\"",
        "lockgate.toml:4:12",
        "must not hold credentials",
    ),
    (
        "[[provider]]\nid = \"p\"\nkind = \"openai-compatible\"\nendpoint = \"ftp://h\"\nlocality = \"lan\"",
        "lockgate.toml:4:12",
        "http:// or https://",
    ),
    (
        "[server]\nair_gapped = true\n[[provider]]\nid = \"p\"\nkind = \"bedrock\"\nregion = \"x\"",
        "lockgate.toml:4:6",
        "air-gapped",
    ),
    (
        "[[provider]]\nid = \"p\"\nkind = \"bedrock\"\nregion = \"x\"\napi_key = \"sk-hunter2\"",
        "lockgate.toml:5:11",
        "{ env = \"NAME\" }",
    ),
    (
        "[[provider]]\nid = \"p\"\nkind = \"bedrock\"\nregion = \"x\"\napi_key = { env = \"LOCKGATE_TEST_UNSET\" }",
        "lockgate.toml:5:11",
        "`LOCKGATE_TEST_UNSET` is not set",
    ),
    (
        "[[target]]\nid = \"t\"\nprovider = \"bedrok\"\nmodel = \"m\"\n[[provider]]\nid = \"bedrock\"\nkind = \"bedrock\"\nregion = \"x\"",
        "lockgate.toml:3:12",
        "did you mean `bedrock`?",
    ),
    (
        "[[target]]\nid = \"t\"\nprovider = \"p\"\nmodel = \"m\"\nprice = { input = -1.0, output = 0.0 }",
        "lockgate.toml:5:9",
        "not negative",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"none.wasm\"\nworld = \"router\"",
        "lockgate.toml:3:8",
        "there is no component none.wasm",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"gard\"",
        "lockgate.toml:4:9",
        "did you mean `guard`?",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"guard\"\ngrants = [\"logs\"]",
        "lockgate.toml:5:11",
        "unknown grant `logs`",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"guard\"\non_error = \"first-target\"",
        "lockgate.toml:5:12",
        "always refuses",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"guard\"\nreuse = 10",
        "lockgate.toml:5:9",
        "`reuse` is for routers and preprocessors",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"router\"\nreuse = 0",
        "lockgate.toml:5:9",
        "from 1, a fresh one each time",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"router\"\nof = \"q\"",
        "lockgate.toml:5:6",
        "`of` is for a canary",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"router\"\nmode = \"canary\"",
        "lockgate.toml:2:6",
        "a canary needs share",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"router\"\nmode = \"canary\"\nshare = 1.5",
        "lockgate.toml:6:9",
        "more than 0 and at most 1",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"router\"\nmode = \"shadow\"\nof = \"privacy-frist\"",
        "lockgate.toml:6:6",
        "did you mean `privacy-first`?",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"router\"\nmode = \"shadow\"\nshare = 0.5",
        "lockgate.toml:6:9",
        "a shadow sees every request",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"guard\"\nmode = \"shadow\"",
        "lockgate.toml:5:8",
        "only a router can",
    ),
    (
        "[[key]]\nname = \"k\"\nhash = \"sha256:12\"\nrouter = \"nobody\"",
        "lockgate.toml:4:10",
        "there is no router `nobody`",
    ),
    (
        "[[provider]]\nid = \"p\"\nkind = \"bedrock\"\nregion = \"eu-central-1\"\n[[target]]\nid = \"auto:x\"\nprovider = \"p\"\nmodel = \"m\"",
        "lockgate.toml:6:6",
        "ask a router",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"guard\"\n[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"guard\"",
        "lockgate.toml:6:6",
        "a second plugin `p`",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"guard\"\n[[plugin]]\nid = \"p\"\npath = \"build.rs\"\nworld = \"preprocessor\"",
        "lockgate.toml:7:8",
        "their path must be the same",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"router\"\nsha256 = \"12\"",
        "lockgate.toml:5:10",
        "64 hexadecimal digits",
    ),
    (
        "[[plugin]]\nid = \"p\"\npath = \"Cargo.toml\"\nworld = \"router\"\nsigner = \"me\"",
        "lockgate.toml:5:10",
        "not a minisign public key",
    ),
    ("[[key]]\nname = \"k\"\nhash = \"sha256:12\"", "lockgate.toml:3:8", "lockgate key new"),
    (
        "[[key]]\nname = \"a\"\nlabels = [\"local-only\"]\n\
         hash = \"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n\
         [[key]]\nname = \"b\"\n\
         hash = \"sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
        "lockgate.toml:7:8",
        "another key has this hash",
    ),
    (
        "[[key]]\nname = \"k\"\nhash = \"sha256:12\"\nlabels = [\"lokal\"]",
        "lockgate.toml:4:11",
        "unknown label `lokal`",
    ),
    (
        "[[key]]\nname = \"k\"\nbudget = { usd = 5 }\nhash = \"x\"",
        "lockgate.toml:3:1",
        "unknown field `budget`",
    ),
];

#[test]
fn every_mistake_names_its_place_and_what_to_do() {
    for (text, place, words) in MISTAKES {
        let problems = parse_text(text).expect_err(text).to_string();
        let line = problems.lines().find(|line| line.starts_with(place) && line.contains(words));
        assert!(line.is_some(), "{text}\nwanted {place} … {words}\ngot {problems}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[[key]]\nname = \"k\"\nhash = \"x\"\n[[key]]\nname = \"k\"\nhash = \"y\"";
    let problems = parse_text(text).expect_err("three mistakes").to_string();
    assert_eq!(problems.lines().count(), 3, "{problems}");
}

#[test]
fn a_secret_is_never_shown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("key"), "hunter2\n").expect("it is written");
    let path = folder.path().join("lockgate.toml");
    let text = "[[provider]]\nid = \"p\"\nkind = \"openai-compatible\"\nendpoint = \"http://127.0.0.1:1/v1\"\n\
                locality = \"local\"\napi_key = { file = \"key\" }";
    let config = parse(&path, text).expect("it is valid");
    assert_eq!(config.providers[0].api_key, Some(lockgate_providers::Secret::new("hunter2")));
    assert!(!format!("{config:?}").contains("hunter2"));
    let pasted = text.replace("{ file = \"key\" }", "\"sk-hunter2\"");
    assert!(!parse(&path, &pasted).expect_err("a secret").to_string().contains("hunter2"));
}

/// A cloud target `claude`, one on this machine, `small`, a model `m` and an adapter `m:a`; 26 lines.
const WHOM_TO_ASK: &str = "[[provider]]\nid = \"p\"\nkind = \"bedrock\"\nregion = \"x\"\n[[provider]]\nid = \"l\"\n\
    kind = \"openai-compatible\"\nendpoint = \"http://127.0.0.1:1/v1\"\nlocality = \"local\"\n\
    [[target]]\nid = \"claude\"\nprovider = \"p\"\nmodel = \"m\"\n\
    [[target]]\nid = \"small\"\nprovider = \"l\"\nmodel = \"m\"\n\
    [[model]]\nid = \"m\"\npath = \"Cargo.toml\"\n\
    [[adapter]]\nid = \"a\"\nmodel = \"m\"\npath = \"Cargo.toml\"\n[server]\nnamed = \"direct\"\n";

fn asking(id: &str, world: &str, grants: &str) -> String {
    format!("[[plugin]]\nid = \"{id}\"\npath = \"Cargo.toml\"\nworld = \"{world}\"\ngrants = [{grants}]\n")
}

#[test]
fn grants_name_who_exists_and_where_it_is() {
    let grants = r#""cloud:claude", "inference:small", "inference:m", "inference:m:a", "state""#;
    for world in ["router", "preprocessor", "guard"] {
        parse_text(&(WHOM_TO_ASK.to_owned() + &asking("p", world, grants))).expect("it is valid");
    }
    let place = WHOM_TO_ASK.lines().count() + 5;
    for (grants, column, words) in [
        (r#""cloud:claud""#, 11, "there is no model or target `claud`; did you mean `claude`?"),
        (r#""inference:qqqq""#, 11, "add a [[model]] or a [[target]]"),
        (
            r#""log", "inference:claude""#,
            18,
            "is not on this machine (its locality is cloud): it needs \"cloud:claude\"",
        ),
        (r#""cloud:small""#, 11, "is on this machine: it needs \"inference:small\""),
        (r#""cloud:m:a""#, 11, "is on this machine: it needs \"inference:m:a\""),
    ] {
        let text = WHOM_TO_ASK.to_owned() + &asking("p", "router", grants);
        let problems = parse_text(&text).expect_err(grants).to_string();
        assert!(problems.starts_with(&format!("lockgate.toml:{place}:{column}: ")), "{problems}");
        assert!(problems.contains(words), "{problems}");
    }
}

#[test]
fn a_preprocessor_ahead_of_another_asks_nobody_elsewhere() {
    let chain = |first: &str, second: &str| {
        let plugins = [asking("one", "preprocessor", first), asking("two", "preprocessor", second)];
        parse_text(&(WHOM_TO_ASK.to_owned() + &plugins.concat()))
    };
    chain(r#""inference:small""#, r#""cloud:claude""#).expect("the last one may");
    let problems = chain(r#""cloud:claude""#, "").expect_err("the first one may not").to_string();
    let place = WHOM_TO_ASK.lines().count() + 5;
    assert!(problems.starts_with(&format!("lockgate.toml:{place}:11: ")), "{problems}");
    assert!(problems.contains("before the preprocessor `two` adds a label"), "{problems}");
    assert_eq!(problems.lines().count(), 1, "{problems}");
    // A router and a guard are asked when every preprocessor has said what it has to say.
    let plugins = [asking("r", "router", r#""cloud:claude""#), asking("two", "preprocessor", "")];
    parse_text(&(WHOM_TO_ASK.to_owned() + &plugins.concat())).expect("it is valid");
}

#[test]
fn limits_are_understood_and_make_sense() {
    let plugin = |limits: &str| asking("p", "router", "") + &format!("limits = {{ {limits} }}\n");
    let all = "wait_ms = 100, tokens = 0, usd = 0.5, input_kib = 1, handles = 5, log_kib = 1, state_kib = 1";
    let config = parse_text(&plugin(all)).expect("it is valid");
    let limits = config.routers[0].plugin.as_ref().expect("there is one").limits;
    assert_eq!((limits.wait_ms, limits.tokens, limits.usd), (Some(100), Some(0), Some(0.5)));
    for (limits, words) in [
        ("state_kib = 0", "limits.state_kib is 0"),
        ("usd = -1.0", "not negative"),
        ("usd = nan", "not negative"),
        ("tokns = 1", "did you mean `tokens`?"),
    ] {
        let problems = parse_text(&plugin(limits)).expect_err(limits).to_string();
        assert!(problems.contains(words), "{problems}");
    }
}
