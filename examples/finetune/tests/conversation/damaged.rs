//! Damaged files and templates end with an error and not with a panic.

use finetune::conversation::{ChatTemplate, Message, ReadOptions, Role, SpecialTokens, load};
use proptest::prelude::*;

use super::{fixture, source};

/// Replace, remove and repeat bytes.
fn damage(bytes: &mut Vec<u8>, changes: &[(usize, u8, u8)]) {
    for &(at, kind, byte) in changes {
        if bytes.is_empty() {
            return;
        }
        let at = at % bytes.len();
        match kind % 4 {
            0 => bytes[at] = byte,
            1 => bytes.truncate(at),
            2 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..5)
}

const JSON: &str = "[{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\\u00e4\"}]},\n\
                    {\"role\": \"assistant\", \"content\": \"b\", \"tool_calls\": [{\"function\": {\"name\": \"f\", \
                    \"arguments\": \"{\\\"x\\\": 1}\"}}]}], \"tools\": \"[{}]\"}]";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn files_are_read_or_refused(which in 0usize..4, changes in changes(), leave_out in any::<bool>()) {
        let mut bytes = match which {
            0 => std::fs::read(fixture("messages.parquet")).unwrap(),
            1 => std::fs::read(fixture("alpaca.parquet")).unwrap(),
            2 => JSON.into(),
            _ => b"{\"prompt\": \"a\", \"completion\": \"b\"}\r\n\n{\"prompt\": \"c\", \"completion\": \"d\"}\n".to_vec(),
        };
        damage(&mut bytes, &changes);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, bytes).unwrap();
        let mut options = ReadOptions::default();
        options.leave_out_faulty = leave_out;
        if let Err(error) = load(&source(&file), &options) {
            prop_assert!(error.to_string().chars().count() < 2500, "{error}");
        }
    }

    #[test]
    fn templates_are_rendered_or_refused(changes in changes()) {
        let mut bytes = std::fs::read(fixture("bytes").join("marked.jinja")).unwrap();
        damage(&mut bytes, &changes);
        let source = String::from_utf8_lossy(&bytes);
        let messages = [Message::new(Role::User, "a"), Message::new(Role::Assistant, "b")];
        let made = ChatTemplate::new("damaged", &source, &SpecialTokens::default());
        if let Ok(template) = made
            && let Ok(rendered) = template.render(&messages, None, false)
        {
            for range in rendered.answers.unwrap_or_default() {
                prop_assert!(rendered.text.get(range).is_some());
            }
        }
    }
}
