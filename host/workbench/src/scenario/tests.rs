use std::path::Path;

use lockgate_api::{ChatRequest, Labels, Locality, Message, Role};

use super::{Expect, LimitHit, Suite, parse};
use crate::session::End;
use crate::world::{Failing, Tokens};

/// A body with one message, as far as these tests need one.
fn decode(body: &[u8]) -> Result<ChatRequest, String> {
    let body: serde_json::Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let text = body["messages"][0]["content"].as_str().ok_or("`messages` is missing")?;
    let model = body["model"].as_str().ok_or("`model` is missing")?;
    Ok(ChatRequest::new(model, vec![Message::text(Role::User, text)]))
}

fn read(text: &str) -> Result<Suite, String> {
    parse(Path::new("a/b.scenario.toml"), text, &decode).map_err(|problems| problems.to_string())
}

const HEAD: &str = "policy = \"p.wasm\"\n[[target]]\nid = \"small\"\nlocality = \"local\"\n";
const ASKS: &str = "[[scenario]]\nname = \"one\"\nprompt = \"Hi\"\n";

#[test]
fn everything_in_a_file_is_read() {
    let suite = read(
        r#"
policy = "privacy-first.wasm"
world = "router"
settings = { threshold = "0.7" }
grants = ["inference:small", "state"]
limits = { time_ms = 10 }
on_error = "first-target"
chain = ["redactor.wasm", { path = "json-guard.wasm", world = "guard", settings = { mode = "stop" } }]
[[target]]
id = "small"
locality = "local"
context = 8192
tokens = 12
health = { state = "open", queue = 2, ttft_ms = 80, tokens_per_second = 40 }
[[target]]
id = "claude"
locality = "cloud"
price = { input = 3, output = 15.0 }
region = "eu-1"
[[reply]]
target = "small"
when = "part"
text = "Paris"
logprob = -0.2
after_ms = 120
[[reply]]
text = "Paris, of course"
error = "cut-after:3"
times = 2
[[fault]]
kind = "trap"
at = 3
scenario = "one"
[[scenario]]
name = "one"
request = { messages = [{ role = "user", content = "Hello" }] }
labels = ["local-only"]
health = { claude = { state = "half-open" } }
expect = { plan = ["small"], answered_by = "small", never_locality = ["cloud"], outcome = "answered", max_cost_usd = 0, reason_contains = "health", text_lacks = ["a", "b"], labels = ["local-only"], attempts = 1, max_virtual_ms = 5, limit_hit = "fuel" }
[[scenario.reply]]
target = "small"
text = "own"
[[scenario.then]]
prompt = "And now?"
wait_ms = 500
expect = { limit_hit = true }
[[property]]
name = "stays"
runs = 5
generate = { personal = 0.5, long = 9000, languages = ["de"], labels = ["local-only"], turns = 3 }
when = { labels = "local-only", has = ["personal"] }
expect = { never_locality = ["cloud"] }
"#,
    )
    .expect("all of it is valid");
    assert_eq!(suite.policy.path, Path::new("a/privacy-first.wasm"));
    assert_eq!(suite.policy.limits.time_max.as_millis(), 10);
    assert_eq!((suite.chain.len(), suite.chain[1].settings.len()), (2, 1));
    let [small, claude] = suite.world.targets.as_slice() else { panic!("two targets") };
    assert_eq!(small.tokens, Tokens::Fixed(12));
    assert_eq!(small.target.price.map(|price| price.input), Some(0.0), "what is here is free");
    assert_eq!(claude.target.locality, Locality::Cloud);
    assert_eq!(suite.world.replies[1].answer.error, Some(Failing::CutAfter(3)));
    let scenario = &suite.scenarios[0];
    assert_eq!(
        (scenario.line, scenario.steps.len(), scenario.faults.len(), scenario.own.len()),
        (35, 2, 1, 1)
    );
    assert_eq!(scenario.steps[0].request.model, "auto");
    let expect = &scenario.steps[0].expect;
    assert_eq!(expect.outcome, Some(End::Answered));
    assert_eq!(expect.text_lacks, ["a", "b"]);
    assert_eq!(expect.limit_hit, Some(LimitHit::Named("fuel".to_owned())));
    assert_eq!(scenario.steps[1].wait.as_millis(), 500);
    assert_eq!(suite.properties[0].runs, 5);
    assert_eq!(suite.properties[0].when.labels, "local-only".parse::<Labels>().expect("it is one"));
}

#[test]
fn mistakes_are_told_with_their_place_and_the_nearest_name() {
    for (more, told) in [
        ("[[scenario]]\nname = \"x\"\nprompt = \"Hi\"\nexpct = {}\n", ":8:1: unknown field `expct`"),
        ("[[scenario]]\nname = \"x\"\nprompt = \"Hi\"\nexpct = {}\n", "did you mean `expect`?"),
        (
            "[[scenario]]\nname = \"x\"\nprompt = \"Hi\"\nexpect = { plan = [\"smal\"] }\n",
            ":8:20: unknown target `smal`: did you mean `small`?",
        ),
        (
            "[[scenario]]\nname = \"x\"\nprompt = \"Hi\"\nexpect = { answered_by = \"big\" }\n",
            ":8:26: unknown target `big`",
        ),
        (
            "[[scenario]]\nname = \"x\"\nprompt = \"Hi\"\nexpect = { outcome = \"answred\" }\n",
            "did you mean `answered`?",
        ),
        (
            "[[scenario]]\nname = \"x\"\nprompt = \"Hi\"\nlabels = [\"secret\"]\n",
            ":8:11: unknown label `secret`",
        ),
        (
            "[[scenario]]\nname = \"x\"\nprompt = \"Hi\"\nexpect = { planned = [{ target = \"small\", temperature = 3 }] }\n",
            ":8:34: no plan can have a temperature of 3",
        ),
        (
            "[[target]]\nid = \"t\"\nlocality = \"cloud\"\nadapters = [\"a\"]\n",
            ":8:13: adapters are loaded by models on this machine",
        ),
        ("[[target]]\nid = \"t\"\nlocality = \"local\"\nadapters = [\"a\", \"a\"]\n", "a second adapter `a`"),
        ("[[scenario]]\nname = \"x\"\n", ":6:8: it needs a `request`"),
        (
            "[[scenario]]\nname = \"x\"\nrequest = { model = \"auto\" }\n",
            ":7:11: no chat completion: `messages` is missing",
        ),
        ("[[reply]]\ntarget = \"claude\"\ntext = \"x\"\n", ":6:10: unknown target `claude`"),
        ("[[reply]]\ntarget = \"small\"\n", "a reply needs `text`"),
        ("[[reply]]\ntarget = \"small\"\nerror = \"time-out\"\n", "did you mean `timeout`?"),
        ("[[reply]]\ntarget = \"small\"\nerror = \"cut-after:x\"\n", "cut-after needs a number"),
        ("[[fault]]\nkind = \"trap\"\nat = 0\n", "count from 1"),
        ("[[fault]]\nkind = \"trap\"\nat = 1\nplugin = \"nobody\"\n", ":8:10: unknown plugin `nobody`"),
        ("[[scenario]]\nname = \"one\"\nprompt = \"Hi\"\n", ":9:8: a second scenario `one`"),
        ("[[reply]]\ntext = \"x\"\nerror = \"timeout\"\n", ":6:8: this text is never given"),
        (
            "[[scenario]]\nname = \"x\"\nprompt = \"Hi\"\nexpect = { limit_hit = \"memry\" }\n",
            ":8:24: unknown limit `memry`: did you mean `memory`?",
        ),
        (
            "[[property]]\nname = \"p\"\nexpect = { attempts = 1 }\n[[property]]\nname = \"p\"\nexpect = { attempts = 1 }\n",
            ":9:8: a second property `p`",
        ),
        ("[[target]]\nid = \"t\"\nlocality = \"lan\"\ncontext = 0\n", "nonzero"),
        (
            "[[fault]]\nkind = \"trap\"\nat = 1\nscenario = \"on\"\n",
            "unknown scenario `on`: did you mean `one`?",
        ),
        ("[[property]]\nname = \"p\"\nexpect = {}\n", "a property expects nothing"),
        (
            "[[property]]\nname = \"p\"\ngenerate = [\"personl\"]\nexpect = { attempts = 1 }\n",
            "did you mean `personal`?",
        ),
        ("[[property]]\nname = \"p\"\nruns = 0\nexpect = { attempts = 1 }\n", "runs is a number from 1"),
        ("[[target]]\nid = \"small\"\nlocality = \"local\"\n", "a second target `small`"),
        ("[[target]]\nid = \"x\"\nlocality = \"here\"\n", "unknown locality `here`"),
    ] {
        let problems = read(&format!("{HEAD}{more}{ASKS}")).expect_err(told);
        assert!(problems.starts_with("a/b.scenario.toml:"), "{problems}");
        assert!(problems.contains(told), "{told} is not in {problems}");
    }
    let problem = |text: &str| read(text).expect_err("it is not valid");
    assert!(problem(HEAD).contains("no [[scenario]] and no [[property]]"));
    let cut = read(&format!("{HEAD}[[reply]]\nerror = \"cut-after:2\"\n{ASKS}")).expect("it is valid");
    assert_eq!(
        cut.world.replies[0].answer.text.as_deref(),
        Some("and so o"),
        "there is something to break off"
    );
    let idle = problem(&format!("limits = {{ time_ms = 0 }}\n{HEAD}{ASKS}"));
    assert!(idle.contains("limits.time_ms is 0"), "{idle}");
    for named in ["fuel", "time", "host-calls", "host_calls", "Memory", "output_kib", "the plan's reason"] {
        assert!(read(&format!("{HEAD}{ASKS}expect = {{ limit_hit = \"{named}\" }}\n")).is_ok(), "{named}");
    }
    // A target with the adapter on it, and nothing else that the file does not name.
    let tuned =
        |id: &str| format!("world = \"adapter\"\n{HEAD}{ASKS}expect = {{ answered_by = \"{id}\" }}\n");
    assert!(read(&tuned("small:p")).is_ok());
    assert!(problem(&tuned("small:q")).contains("unknown target `small:q`"));
    assert!(problem(&format!("world = \"rooter\"\n{HEAD}{ASKS}")).contains("did you mean `router`?"));
    assert!(
        problem(&format!("grants = [\"cloud:cluade\"]\n{HEAD}{ASKS}"))
            .contains("there is no target `cluade`")
    );
    assert!(problem(&format!("chain = [{{ pth = \"x\" }}]\n{HEAD}{ASKS}")).contains(":1:10: "));
}

#[test]
fn an_expectation_is_written_as_it_is_read() {
    let table = "{ reason_contains = [\"a \\\"quoted\\\" part\"], sent_lacks = [\"x\\ny\"], never_target = [\"small\"], never_locality = [\"cloud\"], plan = [\"small\"], planned = [{ target = \"small\", timeout_ms = 20, hedge_after_ms = 5, review = false, temperature = 0.2, top_p = 1, top_k = 3, seed = 4, max_tokens = 5 }], healthy_first = true, outcome = \"refused\", max_cost_usd = 0.25, text = \"\", labels = [\"local-only\"], attempts = 2, limit_hit = false }";
    let suite = |table: &str| read(&format!("{HEAD}{ASKS}expect = {table}\n")).expect("it is valid");
    let first: Expect = suite(table).scenarios[0].steps[0].expect.clone();
    let again: Expect = suite(&first.to_toml()).scenarios[0].steps[0].expect.clone();
    assert_eq!(first, again);
    assert_eq!(first.to_toml(), table);
}

#[test]
fn hostile_files_are_errors_and_nothing_worse() {
    for text in [
        "",
        "\0",
        "policy",
        "policy = 1",
        "[[target]]",
        "policy = \"x\"\nchain = [[[]]]",
        "policy=\"x\"\n[[scenario]]\nname=\"\"\nrequest=1979-05-27T07:32:00Z",
    ] {
        assert!(read(text).is_err(), "{text:?}");
    }
    let deep = format!("{HEAD}{ASKS}expect = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(read(&deep).is_err());
}
