use aws_sdk_bedrockruntime::types::{
    CitationGeneratedContent, CitationsContentBlock, ContentBlockDeltaEvent, ContentBlockStartEvent,
    ContentBlockStopEvent, ConversationRole, ConverseStreamMetadataEvent, Message, MessageStartEvent,
    MessageStopEvent, ReasoningTextBlock, ToolUseBlockDelta, ToolUseBlockStart,
};

use super::*;

fn begin() -> ConverseStreamOutput {
    ConverseStreamOutput::MessageStart(
        MessageStartEvent::builder().role(ConversationRole::Assistant).build().unwrap(),
    )
}

fn delta(block: i32, delta: ContentBlockDelta) -> ConverseStreamOutput {
    let event = ContentBlockDeltaEvent::builder().content_block_index(block).delta(delta).build().unwrap();
    ConverseStreamOutput::ContentBlockDelta(event)
}

fn text(block: i32, text: &str) -> ConverseStreamOutput {
    delta(block, ContentBlockDelta::Text(text.into()))
}

fn call(block: i32, id: &str, name: &str) -> ConverseStreamOutput {
    let call = ToolUseBlockStart::builder().tool_use_id(id).name(name).build().unwrap();
    let event = ContentBlockStartEvent::builder()
        .content_block_index(block)
        .start(ContentBlockStart::ToolUse(call))
        .build()
        .unwrap();
    ConverseStreamOutput::ContentBlockStart(event)
}

fn input(block: i32, input: &str) -> ConverseStreamOutput {
    delta(block, ContentBlockDelta::ToolUse(ToolUseBlockDelta::builder().input(input).build().unwrap()))
}

fn end_block(block: i32) -> ConverseStreamOutput {
    ConverseStreamOutput::ContentBlockStop(
        ContentBlockStopEvent::builder().content_block_index(block).build().unwrap(),
    )
}

fn stop(reason: &str) -> ConverseStreamOutput {
    ConverseStreamOutput::MessageStop(MessageStopEvent::builder().stop_reason(reason.into()).build().unwrap())
}

fn metadata(usage: Option<TokenUsage>) -> ConverseStreamOutput {
    ConverseStreamOutput::Metadata(ConverseStreamMetadataEvent::builder().set_usage(usage).build())
}

fn run(inputs: Vec<ConverseStreamOutput>) -> (Vec<Event>, Result<bool, ConverseProblem>) {
    let mut state = ConverseState::new("m");
    let mut events = VecDeque::new();
    let mut result = Ok(());
    for input in inputs {
        result = result.and_then(|()| state.event(input, &mut events));
    }
    let result = result.and_then(|()| state.end(&mut events)).map(|()| state.is_done());
    (events.into(), result)
}

fn event_text(text: &str) -> Event {
    Event::Text { choice: 0, text: text.into(), logprobs: vec![] }
}

fn piece(index: u32, head: Option<(&str, &str)>, arguments: &str) -> Event {
    Event::ToolCall {
        choice: 0,
        index,
        id: head.map(|(id, _)| id.into()),
        name: head.map(|(_, name)| name.into()),
        arguments: arguments.into(),
    }
}

#[test]
fn calls_are_numbered_by_themselves() {
    let (events, result) = run(vec![
        begin(),
        text(0, "Let me see."),
        end_block(0),
        call(1, "a", "f"),
        input(1, "{\"x\":"),
        call(4, "b", "g"),
        input(1, "1}"),
        end_block(1),
        end_block(4),
        stop("tool_use"),
        metadata(None),
    ]);
    assert_eq!(result, Ok(true));
    assert_eq!(
        events,
        [
            Event::Start { model: "m".into() },
            event_text("Let me see."),
            piece(0, Some(("a", "f")), ""),
            piece(0, None, "{\"x\":"),
            piece(1, Some(("b", "g")), ""),
            piece(0, None, "1}"),
            piece(1, None, "{}"),
            Event::Finish { choice: 0, reason: FinishReason::ToolCalls },
        ]
    );
}

#[test]
fn the_finish_waits_for_the_usage() {
    let mut state = ConverseState::new("m");
    let mut events = VecDeque::new();
    for input in [begin(), text(0, "a"), stop("end_turn")] {
        state.event(input, &mut events).unwrap();
    }
    assert!(!events.iter().any(|event| matches!(event, Event::Finish { .. })) && !state.is_done());
    let counts = TokenUsage::builder().input_tokens(3).output_tokens(0).total_tokens(3).build().unwrap();
    state.event(metadata(Some(counts)), &mut events).unwrap();
    assert!(state.is_done());
    assert_eq!(events.back(), Some(&Event::Usage(Usage { input: 3, ..Usage::default() })), "0 is a count");
}

#[test]
fn an_end_before_the_stop_is_a_cut() {
    for inputs in [vec![], vec![begin()], vec![begin(), text(0, "a")], vec![begin(), metadata(None)]] {
        let (_, result) = run(inputs);
        assert!(matches!(result, Err(ConverseProblem::Cut(_))), "{result:?}");
    }
}

#[test]
fn nonsense_is_a_problem() {
    for inputs in [vec![begin(), input(0, "{}")], vec![begin(), call(0, "a", "f"), call(0, "b", "g")]] {
        let (_, result) = run(inputs);
        assert!(matches!(result, Err(ConverseProblem::Protocol(_))), "{result:?}");
    }
}

#[test]
fn empty_pieces_and_signatures_are_nothing() {
    let reasoning = |inner| delta(0, ContentBlockDelta::ReasoningContent(inner));
    let (events, result) = run(vec![
        reasoning(ReasoningContentBlockDelta::Text("hm".into())),
        reasoning(ReasoningContentBlockDelta::Text(String::new())),
        reasoning(ReasoningContentBlockDelta::Signature("sig".into())),
        text(1, ""),
        stop("end_turn"),
    ]);
    assert_eq!(result, Ok(true));
    assert_eq!(
        events,
        [
            Event::Start { model: "m".into() },
            Event::Reasoning { choice: 0, text: "hm".into() },
            Event::Finish { choice: 0, reason: FinishReason::Stop },
        ]
    );
}

#[test]
fn a_document_says_the_same() {
    let reasoning = ReasoningTextBlock::builder().text("hm").signature("s").build().unwrap();
    let citations =
        CitationsContentBlock::builder().content(CitationGeneratedContent::Text("cited".into())).build();
    let message = Message::builder()
        .role(ConversationRole::Assistant)
        .content(ContentBlock::ReasoningContent(ReasoningContentBlock::ReasoningText(reasoning)))
        .content(ContentBlock::Text("a".into()))
        .content(ContentBlock::CitationsContent(citations))
        .build()
        .unwrap();
    let document = Document::builder()
        .output(ConverseOutput::Message(message))
        .stop_reason(StopReason::MaxTokens)
        .usage(TokenUsage::builder().input_tokens(1).output_tokens(2).total_tokens(3).build().unwrap())
        .build()
        .unwrap();
    let mut state = ConverseState::new("m");
    let mut events = VecDeque::new();
    state.document(document, &mut events).unwrap();
    assert!(state.is_done());
    assert_eq!(
        Vec::from(events),
        [
            Event::Start { model: "m".into() },
            Event::Reasoning { choice: 0, text: "hm".into() },
            event_text("a"),
            event_text("cited"),
            Event::Finish { choice: 0, reason: FinishReason::Length },
            Event::Usage(Usage { input: 1, output: 2, ..Usage::default() }),
        ]
    );
}
