//! Entity keys as people type them: `carrier=UA,origin=EWR,dest="a, b"`. In quotes commas and equals signs are plain,
//! and a quote is written twice.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::CliError;
use crate::model::json::key_from_text;
use crate::model::{JoinKey, KeyValue, View};

/// The keys that a command works on.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = true)]
pub struct KeyArgs {
    /// The key of one entity; repeat it for more. Composite keys: carrier=UA,origin=EWR,dest=IAH. A value with
    /// commas goes in quotes: name="a,b".
    #[arg(long = "key", value_name = "NAME=VALUE,…")]
    keys: Vec<String>,
    /// A file with one key per line; - is standard input.
    #[arg(long, value_name = "FILE")]
    keys_file: Option<PathBuf>,
}

impl KeyArgs {
    /// The keys, typed as the view defines them, in the order given.
    ///
    /// # Errors
    /// If a key does not fit the view, or the file cannot be read.
    pub fn read(&self, view: &View) -> Result<Vec<Vec<KeyValue>>, CliError> {
        let mut keys = Vec::new();
        for text in &self.keys {
            keys.push(key_of(text, view).map_err(|problem| wrong("--key", text, &problem))?);
        }
        if let Some(path) = &self.keys_file {
            let text = read_text(path)?;
            for (at, line) in text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim().is_empty())
            {
                let place = format!("{}, line {}", path.display(), at + 1);
                keys.push(key_of(line, view).map_err(|problem| wrong(&place, line, &problem))?);
            }
        }
        Ok(keys)
    }
}

fn wrong(place: &str, text: &str, problem: &str) -> CliError {
    CliError::wrong("INVALID_ARGUMENT", format!("{place} {text:?}: {problem}"))
}

/// The text of a file; `-` is standard input.
///
/// # Errors
/// If it cannot be read or is no UTF-8.
pub fn read_text(path: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| CliError::file("read", path, &error))
}

/// The values of all join keys of `view`, in its order.
fn key_of(text: &str, view: &View) -> Result<Vec<KeyValue>, String> {
    let pairs = parse_pairs(text)?;
    if let Some((name, _)) = pairs
        .iter()
        .find(|(name, _)| position(name, view).is_none())
    {
        return Err(no_such_key(name, view));
    }
    let value = |join_key: &JoinKey| {
        let pair = pairs.iter().find(|(name, _)| *name == join_key.name);
        let (_, text) = pair.ok_or_else(|| format!("join key {:?} is missing", join_key.name))?;
        typed(text, join_key)
    };
    view.spec.entity.iter().map(value).collect()
}

/// The values of the first join keys of `view`, for a scan.
///
/// # Errors
/// If they are not the first ones, or of other types.
pub fn prefix_of(text: &str, view: &View) -> Result<Vec<KeyValue>, CliError> {
    let problem = |problem: String| wrong("--prefix", text, &problem);
    let pairs = parse_pairs(text).map_err(problem)?;
    let mut values = vec![None; pairs.len()];
    for (name, value) in &pairs {
        let at = position(name, view).ok_or_else(|| problem(no_such_key(name, view)))?;
        let join_key = view.spec.entity.get(at);
        let slot = values.get_mut(at);
        let (Some(join_key), Some(slot)) = (join_key, slot) else {
            let names = key_names(view);
            return Err(problem(format!(
                "a prefix names the first of {names}, without a gap"
            )));
        };
        *slot = Some(typed(value, join_key).map_err(problem)?);
    }
    Ok(values.into_iter().flatten().collect())
}

fn position(name: &str, view: &View) -> Option<usize> {
    view.spec
        .entity
        .iter()
        .position(|join_key| join_key.name == name)
}

fn typed(text: &str, join_key: &JoinKey) -> Result<KeyValue, String> {
    key_from_text(text, join_key.key_type)
        .map_err(|error| format!("join key {:?}: {error}", join_key.name))
}

fn no_such_key(name: &str, view: &View) -> String {
    format!(
        "view {:?} has no join key {name:?}; its key is {}",
        view.spec.name,
        key_names(view)
    )
}

fn key_names(view: &View) -> String {
    let names: Vec<&str> = view
        .spec
        .entity
        .iter()
        .map(|key| key.name.as_str())
        .collect();
    names.join(",")
}

/// `a=1,b="x,y"` as pairs; no name twice.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim();
    loop {
        let (name, after) = rest
            .split_once('=')
            .ok_or_else(|| format!("{rest:?} is not of the form name=value"))?;
        let name = name.trim();
        if pairs.iter().any(|(known, _)| known == name) {
            return Err(format!("join key {name:?} is given twice"));
        }
        let (value, after) = parse_value(after)?;
        pairs.push((name.to_owned(), value));
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Ok(pairs),
        }
    }
}

/// One value and what follows it: nothing, or a comma and more.
fn parse_value(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Ok((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut rest = quoted;
    loop {
        let (part, after) = rest.split_once('"').ok_or("a quote is not closed")?;
        value.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                value.push('"');
                rest = more;
            }
            None if after.is_empty() || after.starts_with(',') => return Ok((value, after)),
            None => return Err(format!("{after:?} follows a closing quote")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::view_file::parse_view;
    use proptest::prelude::*;

    fn routes() -> View {
        let text = r#"
            name = "routes"
            entity = [{ name = "carrier", type = "string" }, { name = "number", type = "int32" }]
            feature = [{ name = "delay", type = "double" }]"#;
        View::new(parse_view(text).unwrap(), 0)
    }

    #[test]
    fn a_composite_key_is_typed_and_ordered_as_the_view_defines_it() {
        let key = key_of("number=17,carrier=UA", &routes()).unwrap();
        assert_eq!(key, [KeyValue::String("UA".into()), KeyValue::Int32(17)]);
    }

    #[test]
    fn quotes_make_commas_and_equals_signs_plain() {
        let key = key_of(r#"carrier="a,b=""c""",number=1"#, &routes()).unwrap();
        assert_eq!(key[0], KeyValue::String(r#"a,b="c""#.into()));
        assert_eq!(parse_pairs("a=b=c").unwrap(), [("a".into(), "b=c".into())]);
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, problem) in [
            ("UA", "\"UA\" is not of the form name=value"),
            ("carrier=UA", "join key \"number\" is missing"),
            (
                "carrier=UA,number=x",
                "join key \"number\": \"x\" is not of type int32",
            ),
            (
                "carrier=UA,seats=1",
                "has no join key \"seats\"; its key is carrier,number",
            ),
            (
                "carrier=UA,carrier=B6",
                "join key \"carrier\" is given twice",
            ),
            ("carrier=\"UA", "a quote is not closed"),
            ("carrier=\"UA\"B6", "\"B6\" follows a closing quote"),
            ("carrier=UA,", "\"\" is not of the form name=value"),
        ] {
            let error = key_of(text, &routes()).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn a_prefix_names_the_first_join_keys() {
        let prefix = |text| prefix_of(text, &routes());
        assert_eq!(
            prefix("carrier=UA").unwrap(),
            [KeyValue::String("UA".into())]
        );
        assert_eq!(prefix("number=1,carrier=UA").unwrap().len(), 2);
        let error = prefix("number=1").unwrap_err().to_string();
        assert!(
            error.contains("names the first of carrier,number"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_value_can_be_typed_in_quotes(value: String) {
            let text = format!("a=\"{}\",b=1", value.replace('"', "\"\""));
            let pairs = parse_pairs(&text).unwrap();
            prop_assert_eq!(&pairs[0].1, &value);
        }

        #[test]
        fn no_text_makes_parsing_panic(text: String) {
            let _parsed = parse_pairs(&text);
        }
    }
}
