"""A chat with tools and thoughts, and the prompts that DeepSeek-V3.2 and V4 are given for it, written by hand.

By encoding/encoding_dsv32.py and encoding/encoding_dsv4.py of the releases. Without BOS, which engines may add.
"""

from collections.abc import Mapping
from typing import Any


def _call(name: str, arguments: Mapping[str, object], id: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "Hello.", "reasoning_content": "A greeting."},
    {"role": "user", "content": "weather?"},
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "Ask.",
        "tool_calls": [_call("weather", {"city": "Köln", "days": 2, "of": ["sun", None]}, "a"), _call("now", {}, "b")],
    },
    {"role": "tool", "content": "rain", "tool_call_id": "a"},
    {"role": "tool", "content": "noon", "tool_call_id": "b"},
]
_CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "of": {"type": "array"}},
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": 'of a "city" < 3 days', "parameters": _CITY}},
    {
        "type": "function",
        "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}},
    },
]
_SCHEMAS = (
    '{"name": "weather", "description": "of a \\"city\\" < 3 days", "parameters": {"type": "object", "properties": '
    '{"city": {"type": "string"}, "days": {"type": "integer"}, "of": {"type": "array"}}}}\n'
    '{"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}'
)

V32_TOOLS = f"""## Tools

You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "<｜DSML｜function_calls>" block like the following as part of your reply to the user:
<｜DSML｜function_calls>
<｜DSML｜invoke name="$FUNCTION_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$FUNCTION_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜function_calls>

String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should use JSON format. The "string" attribute should be set to "true" for string type parameters and "false" for other types (numbers, booleans, arrays, objects).

If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. Here is an example:

<｜DSML｜function_calls>
...
</｜DSML｜function_calls>

<function_results>
...
</function_results>

<think>...thinking about results</think>

Here are the functions available in JSONSchema format:
<functions>
{_SCHEMAS}
</functions>
"""
V4_TOOLS = f"""## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "<｜DSML｜tool_calls>" block like the following:

<｜DSML｜tool_calls>
<｜DSML｜invoke name="$TOOL_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$TOOL_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜tool_calls>

String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, objects), pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside <think>...</think> BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

{_SCHEMAS}

You MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.
"""
ABSOLUTE = """Reasoning Effort: Absolute maximum with no shortcuts permitted.
You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.
Explicitly write out your entire deliberation process, documenting every intermediate step, considered alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.

"""
BEYOND = """Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.
You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: exhaustively decompose the problem into its most fundamental components, trace every causal chain to its root, and resolve the underlying cause rather than any surface symptom.
Do not stop reasoning until you have independently verified the solution from multiple angles and are certain that no assumption remains unchecked and no error remains undiscovered.

"""

_CALLS = """

<｜DSML｜{block}>
<｜DSML｜invoke name="weather">
<｜DSML｜parameter name="city" string="true">Köln</｜DSML｜parameter>
<｜DSML｜parameter name="days" string="false">2</｜DSML｜parameter>
<｜DSML｜parameter name="of" string="false">["sun", null]</｜DSML｜parameter>
</｜DSML｜invoke>
<｜DSML｜invoke name="now">

</｜DSML｜invoke>
</｜DSML｜{block}>"""
_V32_RESULTS = "\n\n<function_results>\n<result>rain</result>\n<result>noon</result>\n</function_results>\n\n"
_V4_RESULTS = "<｜User｜><tool_result>rain</tool_result>\n\n<tool_result>noon</tool_result><｜Assistant｜>"


def _prompt(tools: str, first: str, second: str, calls: str, end: str) -> str:
    """The chat, with the thoughts that stand before its two answers."""
    head = "Be brief." + (f"\n\n{tools}" if tools else "")
    one = f"<｜User｜>hi<｜Assistant｜>{first}Hello.<｜end▁of▁sentence｜>"
    return f"{head}{one}<｜User｜>weather?<｜Assistant｜>{second}{calls}{end}"


_OLD, _NEW, _NONE = "<think>A greeting.</think>", "<think>Ask.</think>", "</think>"
CALLS = {name: _CALLS.format(block=block) for name, block in (("v32", "function_calls"), ("v4", "tool_calls"))}
_V32_CALLS, _V4_CALLS = (f"{calls}<｜end▁of▁sentence｜>" for calls in CALLS.values())

# By model, whether it thinks, whether there are tools. V3.2 forgets the thoughts before the last question; V4 none as
# long as there are tools, else also those before the results of one.
PROMPTS = {
    ("v32", True, True): _prompt(V32_TOOLS, _NONE, _NEW, _V32_CALLS, f"{_V32_RESULTS}<think>"),
    ("v32", False, True): _prompt(V32_TOOLS, _NONE, _NONE, _V32_CALLS, f"{_V32_RESULTS}<think></think>"),
    ("v32", True, False): _prompt("", _NONE, _NEW, _V32_CALLS, f"{_V32_RESULTS}<think>"),
    ("v32", False, False): _prompt("", _NONE, _NONE, _V32_CALLS, f"{_V32_RESULTS}<think></think>"),
    ("v4", True, True): _prompt(V4_TOOLS, _OLD, _NEW, _V4_CALLS, f"{_V4_RESULTS}<think>"),
    ("v4", False, True): _prompt(V4_TOOLS, _NONE, _NONE, _V4_CALLS, f"{_V4_RESULTS}</think>"),
    ("v4", True, False): _prompt("", _NONE, _NONE, _V4_CALLS, f"{_V4_RESULTS}<think>"),
    ("v4", False, False): _prompt("", _NONE, _NONE, _V4_CALLS, f"{_V4_RESULTS}</think>"),
}
