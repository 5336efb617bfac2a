//! What a line of a conversation means.

/// A line that was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Nothing,
    Message(&'a str),
    /// New instructions, or none: show them.
    System(Option<&'a str>),
    /// Another model, or none: show them.
    Adapter(Option<&'a str>),
    Reset,
    Help,
    Quit,
    Unknown(&'a str),
}

/// What `/help` says.
pub(super) const HELP: &str = "\
/system TEXT   instructions for the answers; without a text they are shown
/adapter NAME  another model answers; without a name all are shown
/reset         begin a new conversation; the instructions stay
/help          this
/quit          end, as Ctrl-D does
//TEXT         a message that begins with /
Ctrl-C stops an answer; what was written stays in the conversation.";

impl<'a> Line<'a> {
    pub fn parse(line: &'a str) -> Self {
        let line = line.trim();
        if line.is_empty() {
            return Self::Nothing;
        }
        let Some(command) = line.strip_prefix('/') else {
            return Self::Message(line);
        };
        if command.starts_with('/') {
            return Self::Message(command);
        }
        let (name, text) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        let text = Some(text.trim()).filter(|text| !text.is_empty());
        match (name, text) {
            ("system", text) => Self::System(text),
            ("adapter", name) => Self::Adapter(name),
            ("reset", None) => Self::Reset,
            ("help", None) => Self::Help,
            ("quit", None) => Self::Quit,
            _ => Self::Unknown(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_begin_with_a_slash() {
        for (line, expected) in [
            ("  ", Line::Nothing),
            (" Hello ", Line::Message("Hello")),
            ("//etc is a folder", Line::Message("/etc is a folder")),
            ("/system  be short ", Line::System(Some("be short"))),
            ("/system", Line::System(None)),
            ("/adapter\tmine", Line::Adapter(Some("mine"))),
            ("/reset", Line::Reset),
            ("/reset now", Line::Unknown("/reset now")),
            ("/help", Line::Help),
            ("/quit", Line::Quit),
            ("/exit", Line::Unknown("/exit")),
            ("/", Line::Unknown("/")),
        ] {
            assert_eq!(Line::parse(line), expected, "{line:?}");
        }
    }
}
