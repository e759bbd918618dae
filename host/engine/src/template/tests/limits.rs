//! Hostile templates: each ends soon, in little memory, with an error.

use serde_json::{Map, Value};

use super::super::TemplateError;
use super::{render, render_with};

#[track_caller]
fn check_stopped(source: &str) {
    let error = render(source).unwrap_err();
    assert!(
        matches!(error, TemplateError::OutOfSteps { .. } | TemplateError::Failed { .. }),
        "{}: {error}",
        &source[..source.len().min(60)]
    );
}

#[test]
fn loops_and_recursion_end() {
    let endless = "{% for i in range(100000) %}{% for j in range(100000) %}{{ i }}{% endfor %}{% endfor %}";
    assert!(matches!(render(endless), Err(TemplateError::OutOfSteps { .. })));
    check_stopped("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
    check_stopped("{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}");
    check_stopped("{{ range(1000000000)|length }}");
    check_stopped("{% include 'chat_template' %}");
    check_stopped("{% extends 'chat_template' %}");
    check_stopped("{% import 'chat_template' as x %}");
}

#[test]
fn values_do_not_outgrow_the_conversation() {
    for value in ["'aaaaaaaaaaaaaaaa'", "[1]", "(1,)"] {
        check_stopped(&format!(
            "{{% set ns = namespace(x={value}) %}}{{% for i in range(99) %}}{{% set ns.x = ns.x + ns.x %}}{{% endfor %}}"
        ));
        check_stopped(&format!("{{% set x = {value} %}}{}", "{% set x = x + x %}".repeat(99)));
        check_stopped(&format!("{{{{ {value} * 1000000000 }}}}"));
    }
    check_stopped("{% set s = 'a' * 100000 %}{{ s.replace('a', s) }}");
    check_stopped("{% set s = 'a' * 100000 %}{{ range(100000)|join(s) }}");
    for call in [
        "'x'.center(10000000000)",
        "'%1000000000d' % 1",
        "'{:1000000000}'.format(1)",
        "'\\n'|indent(100000000, true)",
    ] {
        check_stopped(&format!("{{{{ {call} }}}}"));
    }
}

#[test]
fn values_do_not_nest_without_end() {
    let nested = |form: &str| {
        format!(
            "{{% set ns = namespace(x=0) %}}{{% for i in range(100000) %}}{{% set ns.x = {form} %}}{{% endfor %}}"
        )
    };
    for form in ["[ns.x]", "(ns.x,)", "{'a': ns.x}", "dict(a=ns.x)", "namespace(a=ns.x)", "[ns.x, ns.x]"] {
        check_stopped(&nested(form));
    }
    check_stopped("{% set ns = namespace() %}{% set ns.x = ns %}{% set ns.y = ns %}{{ ns }}{{ ns == ns.x }}");
    check_stopped(&format!("{{% set a = [] %}}{}", "{% set a = [a, a] %}".repeat(99)));
}

#[test]
fn lazy_values_do_not_pile_up() {
    for form in ["ns.x[0:]", "ns.x|reverse", "ns.x * 1", "ns.x + []", "ns.x|map('string')"] {
        let source = format!(
            "{{% set ns = namespace(x=[1, 2]) %}}{{% for i in range(100000) %}}{{% set ns.x = {form} %}}{{% endfor %}}"
        );
        check_stopped(&source);
    }
}

#[test]
fn sources_are_compiled_on_any_nesting() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{'a':", "}"), ("not ", ""), ("-", ""), ("1~", ""), ("1+", "")]
    {
        let source = format!("{{{{ {}1{} }}}}", open.repeat(5000), close.repeat(5000));
        let _ = render(&source);
        let source = format!("{{{{ {}1{} }}}}", open.repeat(50_000), close.repeat(50_000));
        assert!(matches!(render(&source), Err(TemplateError::Syntax { .. })), "{open}");
    }
    let elif = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(20_000));
    assert_eq!(render(&elif).unwrap(), "");
    let ifs = format!("{}{}", "{% if 1 %}".repeat(20_000), "{% endif %}".repeat(20_000));
    assert!(matches!(render(&ifs), Err(TemplateError::Syntax { .. })));
    let long = "x".repeat((1 << 20) + 1);
    assert!(matches!(render(&long), Err(TemplateError::SourceTooLong { .. })));
}

#[test]
fn templates_reach_no_attributes_of_the_host() {
    check_stopped("{{ ''.__class__.__mro__ }}");
    check_stopped("{{ messages.__class__.x }}");
    check_stopped("{{ messages.append(1) }}");
    check_stopped("{{ debug() }}");
}

#[test]
fn long_conversations_have_the_steps_they_need() {
    let turn = |index: usize| serde_json::json!({"role": if index.is_multiple_of(2) { "user" } else { "assistant" }, "content": "ok"});
    let variables: Map<String, Value> =
        [("turns".to_owned(), (0..20_000).map(turn).collect())].into_iter().collect();
    let source = "{% for m in turns %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}";
    let text = render_with(source, &variables).unwrap();
    assert_eq!(text.matches("<|im_start|>").count(), 20_000);
    let big = "x".repeat(8 << 20);
    let variables: Map<String, Value> = [("big".to_owned(), Value::from(big.clone()))].into_iter().collect();
    let source = "{{ '<' + big|trim + '>' + '\\n' }}";
    assert_eq!(render_with(source, &variables).unwrap().len(), big.len() + 3);
}

#[test]
fn output_is_bounded() {
    let source = "{% for i in range(3000) %}{{ 'x' * 1000 }}{% endfor %}";
    assert!(matches!(
        render(source),
        Err(TemplateError::OutputTooLong { .. } | TemplateError::OutOfSteps { .. })
    ));
}
