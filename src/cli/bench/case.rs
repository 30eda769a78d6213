//! Pure: the results of a comparison.

use serde_json::{Map, Value as Json, json};

use super::measured::rounded;

/// One case: our figure, and those of what it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// The unit of all its figures.
    pub unit: &'static str,
    /// What the node did.
    pub ours: f64,
    /// What something else did, under the name of its figure and that of the ratio; `None` where it is not installed.
    pub others: Vec<(&'static str, &'static str, Option<f64>)>,
}

impl Case {
    /// One object: all figures, then how many times the others' ours is.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut object = Map::new();
        object.insert("case".to_owned(), json!(self.name));
        object.insert("unit".to_owned(), json!(self.unit));
        object.insert("ours".to_owned(), json!(rounded(self.ours)));
        for (name, _, figure) in &self.others {
            object.insert((*name).to_owned(), json!(figure.map(rounded)));
        }
        for (_, name, figure) in &self.others {
            let ratio = figure.map(|figure| (self.ours / figure * 1e3).round() / 1e3);
            object.insert((*name).to_owned(), json!(ratio));
        }
        Json::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_one_object_with_figures_and_ratios() {
        let case = Case {
            name: "lookup_100x10",
            unit: "requests/s",
            ours: 12_000.04,
            others: vec![
                ("empty_server", "ratio_empty", Some(20_000.0)),
                ("redis", "ratio_redis", None),
            ],
        };
        assert_eq!(
            case.to_json().to_string(),
            r#"{"case":"lookup_100x10","unit":"requests/s","ours":12000.0,"empty_server":20000.0,"redis":null,"ratio_empty":0.6,"ratio_redis":null}"#
        );
    }
}
