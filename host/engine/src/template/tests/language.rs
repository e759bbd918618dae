//! The language as jinja2 speaks it: each right answer was printed by jinja2 3.1.6, set up as
//! transformers sets it up.

use serde_json::json;

use super::super::{ChatTemplate, TemplateError, source_in};
use super::{render, render_with};
use crate::gguf::Metadata;

#[track_caller]
fn check(source: &str, expected: &str) {
    assert_eq!(render(source).unwrap(), expected, "{source}");
}

#[test]
fn white_space_around_tags_is_trimmed() {
    check("a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc");
    check("a\n{%- if true -%}\n b \n{%- endif %}\n", "ab");
    check("{% for x in [1, 2] %}\n{{ x }}\n{% endfor %}\n", "1\n2\n");
    check("x\r\ny\rz", "x\ny\nz");
    check("  {# note #}\nx\n\n", "x\n");
}

#[test]
fn values_print_as_python_prints_them() {
    check(
        "{{ none }} {{ true }} {{ 1.0 }} {{ 1e16 * 1 }} {{ [1, 'a', none] }}",
        "None True 1.0 1e+16 [1, 'a', None]",
    );
    check("{{ {'a': 'it\\'s', 'b': 0.00001} }} {{ (1,) }}", "{'a': \"it's\", 'b': 1e-05} (1,)");
    check("{{ missing }}|{{ missing.x if missing else 'no' }}", "|no");
    check("{{ 'a' ~ true ~ none ~ 1.5 }}", "aTrueNone1.5");
}

#[test]
fn json_is_that_of_python() {
    check("{{ messages[1]|tojson }}", "{\"role\": \"user\", \"content\": \"é <x>\\n\"}");
    check("{{ [1, {}, [], 2.5, 1e20]|tojson(indent=2) }}", "[\n  1,\n  {},\n  [],\n  2.5,\n  1e+20\n]");
    check(
        "{{ {'b': 1, 'a': 'é'}|tojson(sort_keys=true, ensure_ascii=true) }}",
        "{\"a\": \"\\u00e9\", \"b\": 1}",
    );
    check(
        "{{ [1, 2]|tojson(separators=(',', ':')) }}{{ ('🦀')|tojson(ensure_ascii=True) }}",
        "[1,2]\"\\ud83e\\udd80\"",
    );
    assert!(render("{{ missing|tojson }}").is_err());
}

#[test]
fn strings_have_pythons_methods() {
    check("{{ ' a b '.split() }}{{ 'a-b-c'.rsplit('-', 1) }}{{ 'abc'[::-1] }}", "['a', 'b']['a-b', 'c']cba");
    check("{{ 'x</think>y'.split('</think>')[-1] }}{{ 'xay'.strip('xy') }}{{ \"it's\".title() }}", "yaIt'S");
    check("{{ 'abc'.startswith(('x', 'a')) }}{{ 'a\\u2028b'.splitlines() }}", "True['a', 'b']");
    check("{{ '%s=%d' % ('a', 3) }} {{ '{}-{}'.format(1, 'x') }}", "a=3 1-x");
}

#[test]
fn loops_break_and_continue_and_namespaces_keep() {
    check(
        "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
        "02",
    );
    check(
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "2",
    );
    check("{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}", "1");
    check(
        "{% macro f(a, b='y') %}{% for x in [1, 2] if x > 1 %}{{ a }}{{ b }}{{ x }}{% endfor %}{% endmacro %}{{ f('x') }}{{ f(b=1, a=2) }}",
        "xy2212",
    );
}

#[test]
fn generation_tags_print_their_content() {
    check("{% generation %}a{% set x = 1 %}{% endgeneration %}{{ x is defined }}", "aFalse");
    check("b {%- generation -%} a {%- endgeneration -%} c", "bac");
    check(
        "{% raw %}{% generation %}{% endraw %}{{ '{% generation %}' }}{# {% generation %} #}",
        "{% generation %}{% generation %}",
    );
}

#[test]
fn a_missing_item_that_names_a_method_is_the_method() {
    check(
        "{{ 'x' if {'a': 1}['items'] else 'y' }}{{ {'a': 1}['items']()|list }}{{ 'x' if {}['other'] else 'y' }}",
        "x[('a', 1)]y",
    );
}

#[test]
fn the_date_is_the_one_given() {
    check("{{ strftime_now('%d %b %Y') }}", "31 Aug 2026");
    let variables = json!({"strftime_now": "2024-02-29"}).as_object().unwrap().clone();
    assert_eq!(render_with("{{ strftime_now('%-d %B') }}", &variables).unwrap(), "29 February");
    let variables = json!({"strftime_now": "yesterday"}).as_object().unwrap().clone();
    let error = render_with("x", &variables).unwrap_err();
    assert!(
        matches!(&error, TemplateError::InvalidVariable { name, .. } if name == "strftime_now"),
        "{error}"
    );
}

#[test]
fn a_template_that_raises_refuses_the_request() {
    let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
    assert_eq!(error, TemplateError::Refused { message: "roles must alternate".to_owned() });
    assert!(error.is_request());
    let error = render("{% macro m() %}{{ raise_exception('deep') }}{% endmacro %}{{ m() }}").unwrap_err();
    assert_eq!(error, TemplateError::Refused { message: "deep".to_owned() });
}

#[test]
fn errors_name_the_line() {
    for (source, line) in [("a\n{{ x.y.z }}", 2), ("\n\n{{ 1 + 'a' }}", 3), ("{{ 'a'|nope }}", 1)] {
        let error = render(source).unwrap_err();
        assert!(matches!(error, TemplateError::Failed { line: at, .. } if at == line), "{source}: {error}");
        assert!(error.is_request());
    }
    let error = ChatTemplate::new("x\n{% if %}").unwrap_err();
    assert!(matches!(error, TemplateError::Syntax { line: 2, .. }), "{error}");
    assert!(!error.is_request());
}

#[test]
fn variables_reach_the_template_and_the_given_ones_are_kept() {
    let variables = json!({"enable_thinking": false, "bos_token": "<s>", "documents": [{"text": "d"}]});
    let variables = variables.as_object().unwrap();
    let source = "{{ bos_token }}{{ enable_thinking }}{{ documents[0].text }}{{ tools is none }}{{ add_generation_prompt }}";
    assert_eq!(render_with(source, variables).unwrap(), "<s>FalsedTrueTrue");
}

#[test]
fn a_model_file_may_have_a_template_for_tools() {
    let mut metadata = Metadata::new();
    assert_eq!(source_in(&metadata, true), Ok(None));
    metadata.insert("tokenizer.chat_template", "plain");
    metadata.insert("tokenizer.chat_template.tool_use", "tools");
    assert_eq!(source_in(&metadata, false), Ok(Some("plain")));
    assert_eq!(source_in(&metadata, true), Ok(Some("tools")));
    metadata.insert("tokenizer.chat_template", 7_u32);
    assert!(source_in(&metadata, false).is_err());
}
