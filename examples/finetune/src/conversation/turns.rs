//! Lists of messages in OpenAI's and ShareGPT's formats.

use programs::printing::{quoted_list, short};
use serde_json::{Map, Value};

use super::message::{Message, Role};

/// Names of roles: what OpenAI, ShareGPT and common data sets write.
const ROLES: [(&str, Role); 14] = [
    ("system", Role::System),
    ("developer", Role::Developer),
    ("user", Role::User),
    ("human", Role::User),
    ("assistant", Role::Assistant),
    ("gpt", Role::Assistant),
    ("chatgpt", Role::Assistant),
    ("bing", Role::Assistant),
    ("bard", Role::Assistant),
    ("bot", Role::Assistant),
    ("model", Role::Assistant),
    ("tool", Role::Tool),
    ("observation", Role::Tool),
    ("ipython", Role::Tool),
];

/// The messages of a list, in either format.
pub(super) fn messages(name: &str, value: &Value) -> Result<Vec<Message>, String> {
    let Value::Array(list) = value else {
        let found = short(&value.to_string());
        return Err(format!(
            "`{name}`: expected a list of messages, found {found}"
        ));
    };
    let parsed = list.iter().enumerate().map(|(place, value)| {
        message(value).map_err(|problem| format!("`{name}`, message {}: {problem}", place + 1))
    });
    parsed.collect()
}

/// Whether a list is in ShareGPT's format, by its first message.
pub(super) fn is_sharegpt(value: &Value) -> bool {
    value
        .get(0)
        .is_some_and(|first| first.get("from").is_some() && first.get("role").is_none())
}

fn message(value: &Value) -> Result<Message, String> {
    let Value::Object(object) = value else {
        let found = short(&value.to_string());
        return Err(format!(
            "expected an object with `role` and `content`, found {found}"
        ));
    };
    let keys = if object.contains_key("role") {
        ["role", "content"]
    } else if object.contains_key("from") {
        ["from", "value"]
    } else {
        let found = quoted_list(object.keys());
        return Err(format!(
            "expected `role` and `content`, or `from` and `value` (ShareGPT), found {found}"
        ));
    };
    let [role_key, content_key] = keys;
    let role = role(role_key, &object[role_key])?;
    let content = match object.get(content_key) {
        None | Some(Value::Null) => None,
        Some(content) => Some(text(content_key, content)?),
    };
    // Null is a field that is not there: Parquet has every column in every row.
    let others = object
        .iter()
        .filter(|(name, value)| !keys.contains(&name.as_str()) && !value.is_null());
    let mut fields: Map<String, Value> = others
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let weight = fields.remove("weight");
    if fields.contains_key("function_call") {
        return Err(
            "`function_call` is the old form of a tool call, expected `tool_calls`: rewrite it"
                .into(),
        );
    }
    if let Some(calls) = fields.get_mut("tool_calls") {
        tool_calls(role, calls)?;
    }
    let trained = match weight.as_ref().map(Value::as_f64) {
        None => true,
        Some(Some(1.0)) => true,
        Some(Some(0.0)) => false,
        Some(_) => {
            let found = short(&weight.unwrap_or_default().to_string());
            return Err(format!("`weight`: expected 0 or 1, found {found}"));
        }
    };
    if content.is_none() && !fields.contains_key("tool_calls") {
        return Err(format!("expected a text in `{content_key}`, found none"));
    }
    Ok(Message {
        role,
        content,
        fields,
        trained: trained && role == Role::Assistant,
    })
}

fn role(key: &str, value: &Value) -> Result<Role, String> {
    let name = value.as_str().unwrap_or_default();
    let found = ROLES
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known));
    if let Some((_, role)) = found {
        return Ok(*role);
    }
    if name == "function_call" {
        let problem = "`from` is `function_call`, expected `tool_calls` in a message of OpenAI's format: rewrite it";
        return Err(problem.into());
    }
    let found = short(&value.to_string());
    Err(format!(
        "`{key}`: unknown role {found}, expected `system`, `developer`, `user` (`human`), `assistant` (`gpt`, `model`) \
         or `tool` (`observation`)"
    ))
}

/// A text, or the texts of a list of parts one after the other.
fn text(key: &str, value: &Value) -> Result<String, String> {
    let refuse = |found: &Value| {
        let found = short(&found.to_string());
        format!("`{key}`: expected a text or a list of parts with `type` `text`, found {found}")
    };
    match value {
        Value::String(text) => checked(key, text),
        Value::Array(parts) => {
            let mut whole = String::new();
            for part in parts {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
                let text = part.get("text").and_then(Value::as_str);
                match (part, text) {
                    (Value::String(text), _) => whole += text,
                    (_, Some(text)) if kind == "text" => whole += text,
                    _ => return Err(refuse(part)),
                }
            }
            checked(key, &whole)
        }
        other => Err(refuse(other)),
    }
}

/// JSON can spell a NUL character, which no text needs and tokenizers treat differently.
pub(super) fn checked(key: &str, text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err(format!("`{key}`: a NUL character, expected none"));
    }
    Ok(text.to_string())
}

/// Check tool calls, and read arguments that are JSON in a text: templates print them as JSON themselves, and would
/// quote them twice.
fn tool_calls(role: Role, calls: &mut Value) -> Result<(), String> {
    let Value::Array(list) = calls else {
        let found = short(&calls.to_string());
        return Err(format!("`tool_calls`: expected a list, found {found}"));
    };
    if role != Role::Assistant && !list.is_empty() {
        return Err(format!(
            "`tool_calls` in a message of the role `{role}`, expected `assistant`"
        ));
    }
    for call in list {
        // Some data sets leave `function` out.
        let function = match call.get("function") {
            Some(_) => call.get_mut("function").expect("just found"),
            None => &mut *call,
        };
        if !function.get("name").is_some_and(Value::is_string) {
            let found = short(&function.to_string());
            return Err(format!(
                "`tool_calls`: expected a function with a `name`, found {found}"
            ));
        }
        let Some(arguments) = function.get_mut("arguments") else {
            continue;
        };
        if let Value::String(text) = arguments {
            let parsed = serde_json::from_str::<Map<String, Value>>(text);
            *arguments = parsed.map(Value::Object).map_err(|error| {
                format!(
                    "`tool_calls`: expected `arguments` as a JSON object: {error}, found {}",
                    short(text)
                )
            })?;
        } else if !arguments.is_object() && !arguments.is_null() {
            let found = short(&arguments.to_string());
            return Err(format!(
                "`tool_calls`: expected `arguments` as an object, found {found}"
            ));
        }
    }
    Ok(())
}

/// Check who speaks after whom, and take off what nobody answered; returns how many messages that were.
pub(super) fn in_order(messages: &mut Vec<Message>) -> Result<usize, String> {
    let mut before: Option<&Message> = None;
    for (place, message) in messages.iter().enumerate() {
        let allowed = match before.map(|message| message.role) {
            None => "`system` or `user`",
            Some(Role::System | Role::Developer) => "`user`",
            Some(Role::User) => "`assistant`",
            Some(Role::Assistant)
                if before.is_some_and(|message| message.tool_calls().is_some()) =>
            {
                "`tool` or `user`"
            }
            Some(Role::Assistant) => "`user`",
            Some(Role::Tool) => "`assistant`, `tool` or `user`",
        };
        let first = before.is_none() && matches!(message.role, Role::System | Role::Developer);
        if !first && !allowed.contains(&format!("`{}`", message.role)) {
            let after = before.map_or("the beginning".into(), |message| {
                format!("`{}`", message.role)
            });
            let join = before.is_some_and(|before| before.role == message.role);
            let fix = if join { ": join the two" } else { "" };
            return Err(format!(
                "message {}: the role `{}` after {after}, expected {allowed}{fix}",
                place + 1,
                message.role
            ));
        }
        before = Some(message);
    }
    let Some(last) = messages
        .iter()
        .rposition(|message| message.role == Role::Assistant)
    else {
        let roles = messages.iter().map(|message| message.role.name());
        let found = if messages.is_empty() {
            "no message".into()
        } else {
            quoted_list(roles)
        };
        return Err(format!(
            "expected a message of the role `assistant`, found {found}"
        ));
    };
    let unanswered = messages.len() - last - 1;
    messages.truncate(last + 1);
    Ok(unanswered)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(value: Value) -> String {
        let parsed = messages("messages", &value);
        match parsed.and_then(|mut list| in_order(&mut list)) {
            Err(problem) => problem,
            Ok(_) => panic!("{value} was taken"),
        }
    }

    #[test]
    fn both_formats_give_the_same_messages() {
        let openai = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "4"}, {"type": "text", "text": " + 5?"}]},
            {"role": "assistant", "content": "9", "weight": 1}
        ]);
        let sharegpt = json!([
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "4 + 5?"},
            {"from": "gpt", "value": "9"}
        ]);
        let expected = messages("messages", &openai).unwrap();
        assert_eq!(messages("conversations", &sharegpt).unwrap(), expected);
        assert!(expected[2].trained && !expected[1].trained);
        assert!(is_sharegpt(&sharegpt) && !is_sharegpt(&openai));
    }

    #[test]
    fn arguments_of_tools_that_are_a_text_are_read() {
        let value = json!([{
            "role": "assistant", "content": null,
            "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": "{\"b\": 5, \"a\": 4}"}}]
        }]);
        let list = messages("messages", &value).unwrap();
        assert_eq!(list[0].content, None);
        let arguments = &list[0].tool_calls().unwrap()[0]["function"]["arguments"];
        assert_eq!(arguments.to_string(), "{\"b\":5,\"a\":4}");
    }

    #[test]
    fn what_nobody_answered_is_taken_off() {
        let value = json!([
            {"from": "human", "value": "4 + 5?"}, {"from": "gpt", "value": "9"}, {"from": "human", "value": "Thanks."}
        ]);
        let mut list = messages("conversations", &value).unwrap();
        assert_eq!(in_order(&mut list), Ok(1));
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn messages_that_do_not_fit_are_refused_with_their_number() {
        let user = json!({"role": "user", "content": "4 + 5?"});
        let answer = json!({"role": "assistant", "content": "9"});
        let system = json!({"role": "system", "content": "Be brief."});
        let cases = [
            (
                json!("text"),
                "`messages`: expected a list of messages, found \"text\"",
            ),
            (
                json!([]),
                "expected a message of the role `assistant`, found no message",
            ),
            (
                json!([user]),
                "expected a message of the role `assistant`, found `user`",
            ),
            (
                json!([user, user, answer]),
                "message 2: the role `user` after `user`, expected `assistant`: join the two",
            ),
            (
                json!([answer]),
                "message 1: the role `assistant` after the beginning, expected `system` or `user`",
            ),
            (
                json!([user, system, answer]),
                "message 2: the role `system` after `user`, expected `assistant`",
            ),
            (
                json!([user, answer, {"role": "tool", "content": "9"}]),
                "message 3: the role `tool` after `assistant`, expected `user`",
            ),
            (
                json!([{"role": "wizard", "content": "x"}]),
                "message 1: `role`: unknown role \"wizard\"",
            ),
            (
                json!([{"role": 3, "content": "x"}]),
                "message 1: `role`: unknown role 3",
            ),
            (
                json!([user, {"role": "assistant"}]),
                "message 2: expected a text in `content`, found none",
            ),
            (
                json!([user, {"role": "assistant", "content": 9}]),
                "`content`: expected a text or a list of parts",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
                "found {\"type\":\"image_url\"",
            ),
            (
                json!([{"speaker": "user"}]),
                "expected `role` and `content`, or `from` and `value` (ShareGPT), found `speaker`",
            ),
            (
                json!(["hello"]),
                "expected an object with `role` and `content`",
            ),
            (
                json!([{"from": "function_call", "value": "x"}]),
                "expected `tool_calls`",
            ),
            (
                json!([{"role": "user", "content": "a\u{0}b"}]),
                "a NUL character",
            ),
            (
                json!([user, {"role": "assistant", "content": "9", "weight": 0.5}]),
                "`weight`: expected 0 or 1, found 0.5",
            ),
            (
                json!([user, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{x"}}]}]),
                "expected `arguments` as a JSON object",
            ),
            (
                json!([user, {"role": "assistant", "tool_calls": [3]}]),
                "expected a function with a `name`, found 3",
            ),
            (
                json!([user, {"role": "assistant", "tool_calls": "f()"}]),
                "`tool_calls`: expected a list",
            ),
            (
                json!([user, {"role": "assistant", "function_call": {"name": "f"}}]),
                "`function_call` is the old form",
            ),
        ];
        for (value, expected) in cases {
            let found = refused(value);
            assert!(found.contains(expected), "{found}\nexpected {expected}");
        }
    }
}
