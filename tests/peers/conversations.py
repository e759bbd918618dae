"""Conversations, tools and documents that every template renders."""

from template_snippets import TOOLS as WEATHER

CALL = {
    "id": "abcdef123",
    "type": "function",
    "function": {"name": "weather", "arguments": {"city": "Köln \"am\" Rhein", "days": 2, "items": [0.5, 1e-7, None]}},
}

CONVERSATIONS = {
    "one question": [{"role": "user", "content": "What is 2 + 2?"}],
    "system": [
        {"role": "system", "content": " Be <brief> & kind.\n\nAlways. "},
        {"role": "user", "content": "\n  Grüß Gott – 你好 🦀 \t\n"},
    ],
    "several turns": [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "  two\n"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "<think>\nhm, 4\n</think>\n\nfour"},
        {"role": "user", "content": ""},
    ],
    "ends with the assistant": [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
    ],
    "reasoning": [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two", "reasoning_content": "\nbecause\n"},
    ],
    "a tool call": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "{\"sky\": \"clear\"}", "tool_call_id": "abcdef123", "name": "weather"},
        {"role": "assistant", "content": "Clear."},
        {"role": "user", "content": "Thanks <tool_response>"},
    ],
    "calls without content": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Weather twice?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "1", "tool_call_id": "abcdef123"},
        {"role": "tool", "content": "2", "tool_call_id": "abcdef123"},
    ],
    "parts": [
        {"role": "user", "content": [{"type": "text", "text": " look: "}, {"type": "image"}, {"type": "text", "text": "!"}]},
    ],
    "roles out of order": [{"role": "assistant", "content": "me first"}, {"role": "user", "content": "x"}],
    "an unknown role": [{"role": "critic", "content": "x"}],
    "no message": [],
    "a message without content": [{"role": "user"}],
}

TOOLS = WEATHER + [
    {
        "type": "function",
        "function": {
            "name": "search",
            "description": "",
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string"},
                    "options": {
                        "type": "object",
                        "properties": {"deep": {"type": "boolean"}, "tags": {"type": "array", "items": {"type": "string"}}},
                        "required": ["deep"],
                    },
                    "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
                    "either": {"oneOf": [{"type": "string"}, {"type": "number"}], "default": 1.0},
                },
                "required": ["query"],
            },
        },
    }
]

DOCUMENTS = [{"title": "Crabs", "text": "They walk\nsideways."}, {"title": "É", "text": "<b>"}]
