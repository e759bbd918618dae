//! Scenario files from beginning to end: what holds, what does not, what cannot be run.

use std::path::{Path, PathBuf};

use lockgate_server::decode_chat;
use lockgate_workbench::bench::{self, Crates, Loaded};
use lockgate_workbench::report::{self, Counts, FileResult};
use lockgate_workbench::run::{self, SuiteResult};
use lockgate_workbench::scenario;

use crate::support::{component, sandbox};

fn outcome(path: &Path, text: &str, threads: usize) -> Result<(Loaded, SuiteResult), String> {
    let suite = scenario::parse(path, text, &decode_chat).map_err(|problems| problems.to_string())?;
    let loaded = bench::load(sandbox(), suite, Crates::Refused).map_err(|unusable| unusable.to_string())?;
    let result = run::run(sandbox(), &loaded, &decode_chat, threads)?;
    Ok((loaded, result))
}

fn file(path: &Path, text: &str, threads: usize) -> FileResult {
    FileResult { path: "careless.scenario.toml".to_owned(), outcome: outcome(path, text, threads) }
}

/// The text of the careless policy's scenarios, and where it would lie beside the component.
fn careless() -> (PathBuf, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text =
        std::fs::read_to_string(root.join("tests/careless/careless.scenario.toml")).expect("it is there");
    (component("tests/careless").with_file_name("careless.scenario.toml"), text)
}

#[test]
fn a_careless_policy_is_caught_by_properties_alone() {
    let (path, text) = careless();
    let (_, result) = outcome(&path, &text, 2).expect("it can be run");
    assert!(result.scenarios[0].holds(), "it looks right: {:?}", result.scenarios[0].steps[0].misses);
    let fields: Vec<_> = result
        .properties
        .iter()
        .map(|property| property.failure.as_ref().map(|found| found.misses[0].field))
        .collect();
    let expected =
        [Some("never_locality"), Some("max_cost_usd"), Some("healthy_first"), Some("limit_hit"), None];
    assert_eq!(fields, expected);
    assert!(result.properties[4].holds());

    // Each failure, pasted into the file, fails there in the same way.
    for found in result.properties.iter().filter_map(|property| property.failure.as_ref()) {
        let pasted = format!("{}\n{}", text.split("[[property]]").next().expect("a head"), found.scenario);
        let (_, again) = outcome(&path, &pasted, 1).expect("what is printed can be run");
        let pasted = again.scenarios.last().expect("the pasted one");
        assert_eq!(pasted.steps[0].misses, found.misses, "{}", found.scenario);
    }
    let leak = result.properties[0].failure.as_ref().expect("it leaks");
    assert!(leak.scenario.contains("\"content\" = \"Hi\""), "{}", leak.scenario);
    assert!(leak.scenario.contains("labels = [\"local-only\"]"), "{}", leak.scenario);
}

#[test]
fn reports_are_the_same_bytes_on_any_number_of_threads() {
    let (path, text) = careless();
    let reports = |threads| {
        let files = [file(&path, &text, threads)];
        let counts = Counts::of(&files);
        assert_eq!((counts.scenarios, counts.properties, counts.exit_code()), ((1, 1), (1, 5), 1));
        let texts = [
            report::file(&files[0]),
            report::summary(&files),
            report::coverage(&files),
            report::junit(&files),
        ];
        (texts, report::json(&files).to_string())
    };
    let one = reports(1);
    assert_eq!(one, reports(2));
    let ([told, summary, coverage, junit], json) = one;
    assert!(told.contains("  ok    it looks right"), "{told}");
    assert!(told.contains("expected  never_locality = [\"cloud\"]"), "{told}");
    assert!(told.contains("happened                   `careless` asked for `claude` (cloud)"), "{told}");
    assert!(summary.contains("1 of 1 scenarios hold, 1 of 5 properties"), "{summary}");
    assert!(coverage.contains("no request is failed"), "{coverage}");
    assert!(
        junit.contains(
            "<testcase name=\"it looks right\" classname=\"careless.scenario.toml\" time=\"0.000\"/>"
        )
    );
    assert!(junit.contains("failures=\"4\" errors=\"0\""), "{junit}");
    assert!(json.contains("\"held\":false"));
}

const HEAD: &str = "[[target]]\nid = \"small\"\nlocality = \"local\"\n[[target]]\nid = \"claude\"\nlocality = \"cloud\"\n\
                    price = { input = 3, output = 15 }\n[[reply]]\ntarget = \"small\"\ntext = \"Paris\"\nafter_ms = 120\n\
                    [[reply]]\ntarget = \"claude\"\nerror = \"timeout\"\n";

fn misses(policy: &str, scenario: &str) -> Vec<(&'static str, String)> {
    let path = component(policy);
    let name = path.file_name().and_then(|name| name.to_str()).expect("it has a name");
    let text = format!("policy = \"{name}\"\n{HEAD}{scenario}");
    let (_, result) = outcome(&path.with_file_name("x.scenario.toml"), &text, 1).expect("it can be run");
    let steps = result.scenarios.iter().flat_map(|scenario| &scenario.steps);
    steps.flat_map(|step| &step.misses).map(|miss| (miss.field, miss.happened.clone())).collect()
}

#[test]
fn every_expectation_can_fail() {
    let ask = "[[scenario]]\nname = \"x\"\nprompt = \"What is the capital of France?\"\nexpect = ";
    let holds = "{ plan = [\"small\", \"claude\"], answered_by = \"small\", outcome = \"answered\", max_cost_usd = 0, reason_contains = [\"simple\", \"work\"], text = \"Paris\", text_contains = \"Par\", text_lacks = \"Rome\", sent_contains = \"capital\", sent_lacks = \"secret\", labels = [], attempts = 1, max_attempts = 1, max_virtual_ms = 120, limit_hit = false, finish = \"stop\", healthy_first = true, never_target = [] }";
    assert_eq!(misses("plugins/privacy-first", &format!("{ask}{holds}\n")), []);
    for (field, value) in [
        ("plan", "[\"small\"]"),
        ("planned", "[{ target = \"small\", temperature = 0.5 }]"),
        ("planned", "[{ target = \"small\", review = true }]"),
        ("answered_by", "\"claude\""),
        ("outcome", "\"failed\""),
        ("reason_contains", "\"hard\""),
        ("text", "\"Pari\""),
        ("text_contains", "\"Rome\""),
        ("text_lacks", "\"Paris\""),
        ("sent_contains", "\"Rome\""),
        ("sent_lacks", "\"capital\""),
        ("labels", "[\"local-only\"]"),
        ("attempts", "2"),
        ("max_attempts", "0"),
        ("max_virtual_ms", "119"),
        ("limit_hit", "true"),
        ("limit_hit", "\"fuel\""),
        ("finish", "\"length\""),
        ("never_target", "[\"claude\"]"),
        ("never_locality", "[\"cloud\"]"),
        ("healthy_first", "false"),
    ] {
        let found = misses("plugins/privacy-first", &format!("{ask}{{ {field} = {value} }}\n"));
        assert_eq!(found.iter().map(|(field, _)| *field).collect::<Vec<_>>(), [field], "{value}: {found:?}");
    }
}

#[test]
fn requests_in_a_row_share_a_clock_and_replies_may_run_out() {
    let scenario = "[[scenario]]\nname = \"x\"\nprompt = \"Hello\"\nexpect = { text = \"first\" }\n\
                    [[scenario.reply]]\ntarget = \"small\"\ntext = \"first\"\ntimes = 1\n\
                    [[scenario.then]]\nprompt = \"Hello\"\nwait_ms = 1000\nexpect = { text = \"Paris\", max_virtual_ms = 120 }\n";
    assert_eq!(misses("plugins/privacy-first", scenario), []);
}

/// The outcome of scenarios of the hostile policy in one of its modes.
fn hostile(mode: &str, rest: &str) -> SuiteResult {
    let path = component("tests/hostile");
    let text = format!(
        "policy = \"hostile.wasm\"\nsettings = {{ mode = \"{mode}\" }}\ngrants = [\"log\", \"state\", \"clock\", \"random\", \"inference:small\", \"cloud:claude\"]\n{rest}"
    );
    outcome(&path.with_file_name("x.scenario.toml"), &text, 1).expect("it can be run").1
}

fn all_misses(result: &SuiteResult) -> Vec<&'static str> {
    let steps = result.scenarios.iter().flat_map(|scenario| &scenario.steps);
    steps.flat_map(|step| &step.misses).map(|miss| miss.field).collect()
}

#[test]
fn what_a_plan_says_of_an_attempt_can_be_expected() {
    let ask = "[[scenario]]\nname = \"x\"\nprompt = \"Hello\"\nexpect = ";
    let planned = |stated: &str| {
        let text = format!("{HEAD}{ask}{{ planned = [{{ target = \"small\", {stated} }}] }}\n");
        all_misses(&hostile("overrides", &text))
    };
    let all = "timeout_ms = 900, temperature = 0.25, top_p = 0.5, top_k = 7, max_tokens = 64";
    assert_eq!(planned(all), [""; 0]);
    for other in [
        "timeout_ms = 901",
        "hedge_after_ms = 900",
        "temperature = 0.26",
        "top_p = 0.6",
        "top_k = 8",
        "seed = 1",
        "max_tokens = 65",
        "review = true",
    ] {
        assert_eq!(planned(other), ["planned"], "{other}");
    }
    let none = format!("{HEAD}{ask}{{ planned = [{{ target = \"claude\" }}] }}\n");
    assert_eq!(all_misses(&hostile("overrides", &none)), ["planned"], "it is not in the plan");
}

#[test]
fn a_hedge_runs_on_the_virtual_clock_and_costs_what_it_read() {
    let world = "[[target]]\nid = \"small\"\nlocality = \"cloud\"\nprice = { input = 10, output = 0 }\n\
                 [[target]]\nid = \"claude\"\nlocality = \"cloud\"\nprice = { input = 1, output = 100 }\n\
                 [[reply]]\ntarget = \"small\"\ntext = \"late\"\nafter_ms = 500\n\
                 [[reply]]\ntarget = \"claude\"\ntext = \"soon\"\nafter_ms = 20\n";
    let ask = "[[scenario]]\nname = \"x\"\nprompt = \"Hello you\"\n\
               expect = { answered_by = \"claude\", attempts = 2, max_virtual_ms = 21, text = \"soon\", \
               planned = [{ target = \"small\", hedge_after_ms = 1 }] }\n";
    let run = || hostile("hedged", &format!("{world}{ask}"));
    let result = run();
    assert_eq!(all_misses(&result), [""; 0]);
    let happened = &result.scenarios[0].steps[0].happened;
    let ends: Vec<_> = happened.sent.iter().map(|sent| (sent.target.as_str(), sent.end)).collect();
    assert_eq!(ends, [("small", "abandoned"), ("claude", "ok")]);
    // Three tokens of a prompt at both, one of the answer.
    assert_eq!(happened.usd(), Some(3.0 * 10.0 / 1e6 + (3.0 * 1.0 + 1.0 * 100.0) / 1e6));
    assert_eq!(happened.virtual_ms, 21);
    let again = run();
    assert_eq!(again.scenarios[0].steps[0].happened.sent, happened.sent, "the same each time");
}

#[test]
fn adapters_of_a_target_are_told_to_policies() {
    let world = "[[target]]\nid = \"small\"\nlocality = \"local\"\nadapters = [\"triage\", \"tone\"]\n\
                 [[target]]\nid = \"claude\"\nlocality = \"cloud\"\n[[reply]]\ntext = \"Hi\"\n\
                 [[scenario]]\nname = \"x\"\nprompt = \"Hello\"\n\
                 expect = { reason_contains = \"[[\\\"small:triage\\\", \\\"small:tone\\\"], []]\" }\n";
    assert_eq!(all_misses(&hostile("adapters", world)), [""; 0]);
}

#[test]
fn a_call_without_a_reply_fails_and_a_fault_is_seen() {
    let found = misses(
        "plugins/privacy-first",
        "[[scenario]]\nname = \"x\"\nprompt = \"Hello\"\n[[scenario.fault]]\nkind = \"limit\"\nat = 1\n[[scenario]]\nname = \"y\"\nprompt = \"Hello\"\nexpect = { outcome = \"failed\", limit_hit = true }\n[[scenario.fault]]\nkind = \"limit\"\nat = 1\n",
    );
    assert_eq!(found, []);
    let path = component("plugins/privacy-first");
    let text = "policy = \"privacy_first.wasm\"\n[[target]]\nid = \"small\"\nlocality = \"local\"\n[[reply]]\ntarget = \"small\"\nwhen = \"never\"\ntext = \"x\"\n[[scenario]]\nname = \"x\"\nprompt = \"Hello\"\n";
    let (_, result) = outcome(&path.with_file_name("x.scenario.toml"), text, 1).expect("it can be run");
    assert_eq!(result.scenarios[0].steps[0].misses[0].field, "reply");
}

#[test]
fn a_fault_that_nothing_comes_to_is_no_test() {
    let asks =
        |name: &str, more: &str| format!("[[scenario]]\nname = \"{name}\"\nprompt = \"Hello\"\n{more}");
    let fault = |at: u32| format!("[[scenario.fault]]\nkind = \"limit\"\nat = {at}\n");
    let found = misses("plugins/privacy-first", &(asks("x", &fault(1)) + &asks("y", &fault(9999))));
    assert_eq!(found, [("fault", "no plugin called the host so often".to_owned())]);
    // One of the whole file has been seen when one scenario came to it.
    let of_all =
        |at: u32| format!("[[fault]]\nkind = \"limit\"\nat = {at}\n{}{}", asks("x", ""), asks("y", ""));
    assert_eq!(misses("plugins/privacy-first", &of_all(2)), []);
    assert_eq!(misses("plugins/privacy-first", &of_all(9999)).len(), 1);
    let named = format!("[[fault]]\nkind = \"trap\"\nat = 9999\nscenario = \"x\"\n{}", asks("x", ""));
    assert_eq!(misses("plugins/privacy-first", &named).len(), 1);
}

#[test]
fn what_cannot_be_loaded_is_told_with_its_place() {
    let path = component("plugins/semantic-router").with_file_name("x.scenario.toml");
    for (policy, more, told) in [
        ("nowhere.wasm", "", "x.scenario.toml:1:10: "),
        ("semantic_router.wasm", "", "needs the grant `inference:MODEL`"),
        (".", "", "nothing is built here"),
        ("semantic_router.wasm", "world = \"guard\"\n", "not a component of the world `guard`"),
    ] {
        let text =
            format!("policy = \"{policy}\"\n{more}{HEAD}[[scenario]]\nname = \"x\"\nprompt = \"Hi\"\n");
        let problem = outcome(&path, &text, 1).map(|_| ()).expect_err(told);
        assert!(problem.contains(told), "{told} is not in {problem}");
        assert!(problem.contains("x.scenario.toml:1:10: "), "{problem}");
    }
}
