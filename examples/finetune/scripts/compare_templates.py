"""Compare chat templates as `finetune` renders them with `transformers`, byte for byte.

    pip install transformers jinja2
    cargo build --workspace --example conversations
    python examples/finetune/scripts/compare_templates.py target/debug/examples/conversations FOLDER

FOLDER is searched for files `*.jinja` and `tokenizer_config.json`. Each template is rendered for conversations with and
without a system message, with several turns, tools, calls of tools, reasoning and other alphabets, each with and
without the generation prompt. Texts must be equal, also what `{% generation %}` marks; what one of the two refuses the
other must refuse. Ends with an error if something differs. Calls of tools are not compared for a template that does
not print them, which `finetune` refuses and `transformers` drops.
"""

import datetime
import json
import subprocess
import sys
from pathlib import Path

from transformers.utils import chat_template_utils

TIME = 1_721_952_123
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
TOOLS = [{
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather <today> & 'tomorrow' in a \"city\", für Köln",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name"},
                "days": {"type": "integer", "enum": [1, 2], "default": 1},
                "exact": {"type": "boolean", "default": False},
            },
            "required": ["city"],
        },
    },
}]


def message(role, content, **more):
    return {"role": role, "content": content, **more}


def conversations():
    system = message("system", "You are brief.")
    question, answer = message("user", "What is 4 plus 5?"), message("assistant", "It is 9.")
    more = [message("user", " And 6?\n"), message("assistant", "\nThen it is 15. ")]
    thought = message("assistant", "<think>\n4 + 5\n</think>\n\nIt is 9.")
    reasoned = message("assistant", "It is 9.", reasoning_content="4 + 5")
    call = message("assistant", "", tool_calls=[{
        "id": "call00001", "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "Köln", "days": 2, "exact": True, "at": 1.5, "to": None}},
    }])
    result = message("tool", '{"degrees": 21.5}', name="get_weather", tool_call_id="call00001")
    sun = message("assistant", "Sunny.")
    yield "one turn", [question, answer], {}
    yield "system", [system, question, answer], {}
    yield "several turns", [system, question, answer, *more], {}
    yield "a question", [system, question], {}
    yield "other alphabets", [message("user", "Grüße 😀 \u0301 日本\u2028<b>&'\"{{ x }}"), message("assistant", "Да\\n\t✓")], {}
    yield "tools", [question, answer], {"tools": TOOLS}
    yield "tools, system", [system, question, answer], {"tools": TOOLS}
    yield "calls", [question, call, result, sun], {"tools": TOOLS}
    yield "calls, several turns", [system, question, call, result, sun, *more], {"tools": TOOLS}
    yield "thought", [question, thought, *more], {}
    yield "thought at last", [question, answer, message("user", "Sure?"), thought], {}
    yield "reasoning", [question, reasoned, *more], {}
    yield "reasoning at last", [question, reasoned], {}
    yield "thinking off", [question, answer], {"variables": {"enable_thinking": False}}
    yield "developer", [message("developer", "Be brief."), question, answer], {}
    yield "two users", [question, question, answer], {}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(TIME, datetime.timezone.utc)


def theirs(template, case, parts):
    """The text and what is marked in it, or the error. Where `finetune` gives contents as lists of parts, so does this."""
    if parts:
        listed = lambda text: [{"type": "text", "text": text}]
        case = case | {"messages": [m | {"content": listed(m["content"])} for m in case["messages"]]}
    marked = "generation" in template and chat_template_utils.re.search(r"\{%-?\s*generation\s*-?%\}", template)
    try:
        texts, ranges = chat_template_utils.render_jinja_template(
            conversations=[case["messages"]], chat_template=template, tools=case.get("tools"),
            add_generation_prompt=case["add_generation_prompt"], return_assistant_tokens_mask=bool(marked),
            **SPECIAL, **case.get("variables", {}))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    answers = [texts[0][start:end] for start, end in ranges[0]] if marked else []
    return {"text": texts[0], "answers": [answer for answer in answers if answer]}


def templates(folder):
    for path in sorted(folder.rglob("*.jinja")):
        yield str(path.relative_to(folder)), path.read_text()
    for path in sorted(folder.rglob("tokenizer_config.json")):
        found = json.loads(path.read_text()).get("chat_template")
        for named in found if isinstance(found, list) else [{"name": "", "template": found}] if found else []:
            yield f"{path.relative_to(folder)} {named['name']}", named["template"]


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    program, folder = sys.argv[1], Path(sys.argv[2])
    chat_template_utils.datetime = Clock
    counts = {"equal": 0, "refused by both": 0, "not compared": 0, "different": 0}
    count = 0
    for name, template in templates(folder):
        count += 1
        cases = [{"name": kind, "messages": messages, "add_generation_prompt": prompt, **more}
                 for kind, messages, more in conversations() for prompt in [False, True]]
        request = {"template": template, "special": SPECIAL, "time": TIME, "cases": cases}
        done = subprocess.run([program, "render"], input=json.dumps(request), capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{name}: {done.stderr}")
        answered = json.loads(done.stdout)
        for case, own in zip(cases, answered["cases"], strict=True):
            expected = theirs(template, case, answered["takes_parts"])
            if "error" in own and "does not print" in own["error"]:
                kind = "not compared"
            elif "error" in own and "error" in expected:
                kind = "refused by both"
            elif own == expected:
                kind = "equal"
            else:
                kind = "different"
                print(f"{name}, {case['name']}, prompt {case['add_generation_prompt']}:\n  own    {own}\n  theirs {expected}")
            counts[kind] += 1
    print(f"{count} templates: " + ", ".join(f"{number} {kind}" for kind, number in counts.items()))
    if counts["different"] or not counts["equal"]:
        raise SystemExit("different")


main()
