use lockgate_api::Tool;

use super::*;

fn translated(messages: Vec<Message>) -> Translated {
    translate(&ChatRequest::new("auto", messages), "m").unwrap()
}

/// Each turn's role and its blocks: text, or the kind of block.
fn turns(messages: Vec<Message>) -> Vec<(String, Vec<String>)> {
    let block = |block: &ContentBlock| match block {
        ContentBlock::Text(text) => text.clone(),
        ContentBlock::ToolUse(call) => format!("use {}", call.tool_use_id),
        ContentBlock::ToolResult(result) => format!("result {}", result.tool_use_id),
        other => panic!("{other:?}"),
    };
    let turn = |turn: &Turn| (turn.role.as_str().to_owned(), turn.content.iter().map(block).collect());
    translated(messages).turns.iter().map(turn).collect()
}

fn check(messages: Vec<Message>, expected: &[(&str, &[&str])]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(role, blocks)| ((*role).to_owned(), blocks.iter().map(|&block| block.to_owned()).collect()))
        .collect();
    assert_eq!(turns(messages), expected);
}

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn assistant(text: &str, calls: &[&str]) -> Message {
    let mut message = Message::text(Role::Assistant, text);
    let call = |id: &&str| ToolCall { id: (*id).into(), name: "f".into(), arguments: String::new() };
    message.tool_calls = calls.iter().map(call).collect();
    message
}

fn result(id: &str) -> Message {
    let mut message = Message::text(Role::Tool, "r");
    message.tool_call_id = Some(id.into());
    message
}

#[test]
fn a_conversation_begins_with_a_user() {
    let system = || Message::text(Role::System, "s");
    for (messages, named) in
        [(vec![system()], "messages"), (vec![system(), assistant("hello", &[]), user("hi")], "messages[1]")]
    {
        let refused = accepts(&ChatRequest::new("auto", messages), "m").unwrap_err();
        let told = refused.into_error("far").to_string();
        assert!(told.contains(&format!("`{named}`")) && told.contains("Converse"), "{told}");
    }
    accepts(&ChatRequest::new("auto", vec![system(), user("hi"), assistant("hello", &[])]), "m").unwrap();
}

#[test]
fn neighbours_of_a_role_share_a_turn() {
    check(
        vec![
            user("a"),
            Message::text(Role::System, "s"),
            user("b"),
            assistant("c", &[]),
            assistant("d", &[]),
        ],
        &[("user", &["a", "b"]), ("assistant", &["c", "d"])],
    );
    check(
        vec![user("a"), assistant("", &["1", "2"]), result("1"), result("2"), user("b")],
        &[("user", &["a"]), ("assistant", &["use 1", "use 2"]), ("user", &["result 1", "result 2", "b"])],
    );
}

#[test]
fn blank_text_is_left_out_and_an_empty_turn_is_filled() {
    check(vec![user(""), user("a")], &[("user", &["a"])]);
    check(
        vec![user(" \n"), assistant("", &[]), user("b")],
        &[("user", &["(empty)"]), ("assistant", &["(empty)"]), ("user", &["b"])],
    );
    let system =
        translated(vec![Message::text(Role::System, " "), Message::text(Role::Developer, "d"), user("a")])
            .system;
    assert_eq!(system, [SystemContentBlock::Text("d".into())]);
}

#[test]
fn ids_that_converse_refuses_are_replaced_consistently() {
    let long = "x".repeat(65);
    check(
        vec![
            user("a"),
            assistant("", &["fine_1", "odd.1", "odd.2"]),
            result("odd.2"),
            result("odd.1"),
            result("fine_1"),
            assistant("", &[&long]),
            result(&long),
        ],
        &[
            ("user", &["a"]),
            ("assistant", &["use fine_1", "use lockgate_call_0", "use lockgate_call_1"]),
            ("user", &["result lockgate_call_1", "result lockgate_call_0", "result fine_1"]),
            ("assistant", &["use lockgate_call_2"]),
            ("user", &["result lockgate_call_2"]),
        ],
    );
}

#[test]
fn tools_are_left_out_when_they_may_not_be_used() {
    let mut request = ChatRequest::new("auto", vec![user("a")]);
    request.tools =
        vec![Tool { name: "f".into(), description: Some(" ".into()), parameters: None, strict: Some(true) }];
    let tools = translate(&request, "m").unwrap().tools.unwrap();
    let [ToolDefinition::ToolSpec(tool)] = &tools.tools[..] else { panic!("{tools:?}") };
    assert_eq!((tool.name.as_str(), &tool.description, tool.strict), ("f", &None, Some(true)));
    request.tool_choice = ToolChoice::None;
    assert_eq!(translate(&request, "m").unwrap().tools, None);
}

#[test]
fn what_is_not_set_is_not_sent() {
    let plain = translated(vec![user("a")]);
    assert_eq!((plain.inference, plain.tools, plain.output, plain.additional), (None, None, None, None));
    let mut request = ChatRequest::new("auto", vec![user("a")]);
    request.sampling.max_tokens = Some(u32::MAX);
    assert_eq!(translate(&request, "m").unwrap().inference.unwrap().max_tokens, Some(i32::MAX));
}

#[test]
fn a_result_must_name_its_call() {
    let request = ChatRequest::new("auto", vec![user("a"), Message::text(Role::Tool, "r")]);
    let Err(Untranslatable::Invalid { field, .. }) = translate(&request, "m") else { panic!("accepted") };
    assert_eq!(field, "messages[1].tool_call_id");
}
