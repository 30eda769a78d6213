//! Pure: which rows a request to forget an entity names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::invalid::{Invalid, Problem, check_count};
use super::keys::check_key;
use super::names::find_view;
use super::v1;
use crate::model::json::key_from_text;
use crate::model::{Catalogue, EntityKey, View, limits};

/// The views that have exactly these join keys, each with the entity's key in it.
///
/// # Errors
/// If no view has, or the values are of other types in all of them.
pub fn entities_to_forget(
    request: &v1::ForgetRequest,
    catalogue: &Catalogue,
) -> Result<Vec<(Arc<View>, EntityKey)>, Invalid> {
    if !request.view.is_empty() {
        find_view(catalogue, &request.view).map_err(|problem| problem.at("view"))?;
    }
    let parts = parts(&request.key)?;
    let all = catalogue.views().chain(catalogue.dropped_views());
    let named = all.filter(|view| request.view.is_empty() || view.spec.name == request.view);
    let (mut entities, mut wrong) = (Vec::new(), None);
    for view in named.filter(|view| has_join_keys(view, &parts)) {
        match key_in(view, &parts) {
            Ok(key) => entities.push((Arc::clone(view), key)),
            Err(problem) => wrong = Some(problem),
        }
    }
    if entities.is_empty() {
        let names = parts.keys().copied().collect::<Vec<_>>().join(",");
        let problem = wrong.unwrap_or(Problem::NoSuchEntity { names });
        return Err(problem.at("key"));
    }
    Ok(entities)
}

fn parts(key: &[v1::KeyPart]) -> Result<BTreeMap<&str, &str>, Invalid> {
    check_count("join keys", key.len(), limits::JOIN_KEYS).map_err(|problem| problem.at("key"))?;
    let mut parts = BTreeMap::new();
    for part in key {
        if parts
            .insert(part.join_key.as_str(), part.value.as_str())
            .is_some()
        {
            let (what, name) = ("join key", part.join_key.clone());
            return Err(Problem::Duplicate { what, name }.at("key"));
        }
    }
    Ok(parts)
}

fn has_join_keys(view: &View, parts: &BTreeMap<&str, &str>) -> bool {
    let entity = &view.spec.entity;
    entity.len() == parts.len()
        && entity
            .iter()
            .all(|key| parts.contains_key(key.name.as_str()))
}

fn key_in(view: &View, parts: &BTreeMap<&str, &str>) -> Result<EntityKey, Problem> {
    let mut values = Vec::with_capacity(parts.len());
    for join_key in &view.spec.entity {
        let text = parts
            .get(join_key.name.as_str())
            .copied()
            .unwrap_or_default();
        let value = key_from_text(text, join_key.key_type).map_err(|_| Problem::WrongType {
            what: "join key",
            name: join_key.name.clone(),
            expected: join_key.key_type.to_string(),
            found: "another text".into(),
        })?;
        values.push(value);
    }
    let key = EntityKey::encode(&values);
    check_key(key.as_bytes())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Epoch, Hlc, RegionId, Seq, Stamp};
    use crate::model::KeyValue;
    use crate::model::view_file::parse_view;

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::new();
        let views = [
            ("a", "{ name = \"user\", type = \"int64\" }"),
            ("b", "{ name = \"user\", type = \"string\" }"),
            (
                "c",
                "{ name = \"user\", type = \"int64\" }, { name = \"day\", type = \"int32\" }",
            ),
            ("d", "{ name = \"day\", type = \"int32\" }"),
            ("e", "{ name = \"user\", type = \"int64\" }"),
        ];
        for (seq, (name, entity)) in (1..).zip(views) {
            let text = format!(
                "name = \"{name}\"\nentity = [{entity}]\nfeature = [{{ name = \"f\", type = \"int64\" }}]"
            );
            let create = catalogue.create(parse_view(&text).unwrap()).unwrap();
            catalogue.apply(stamp(seq), &create);
        }
        let drop = catalogue.drop_view("e").unwrap();
        catalogue.apply(stamp(9), &drop);
        catalogue
    }

    fn stamp(seq: u64) -> Stamp {
        let (region, epoch) = (RegionId(1), Epoch(1));
        Stamp {
            hlc: Hlc(seq),
            region,
            epoch,
            seq: Seq(seq),
        }
    }

    fn named(key: &[(&str, &str)], view: &str) -> Result<Vec<(String, EntityKey)>, String> {
        let part = |(join_key, value): &(&str, &str)| v1::KeyPart {
            join_key: (*join_key).to_owned(),
            value: (*value).to_owned(),
        };
        let request = v1::ForgetRequest {
            key: key.iter().map(part).collect(),
            view: view.to_owned(),
        };
        let entities = entities_to_forget(&request, &catalogue());
        let named = |(view, key): (Arc<View>, EntityKey)| (view.spec.name.clone(), key);
        entities
            .map(|entities| entities.into_iter().map(named).collect())
            .map_err(|invalid| invalid.to_string())
    }

    fn int64(value: i64) -> EntityKey {
        EntityKey::encode(&[KeyValue::Int64(value)])
    }

    #[test]
    fn an_entity_is_meant_in_every_view_with_exactly_its_join_keys_each_of_its_own_type() {
        let string = EntityKey::encode(&[KeyValue::String("7".into())]);
        let expected = [("a", int64(7)), ("b", string), ("e", int64(7))];
        let expected = expected.map(|(view, key)| (view.to_owned(), key));
        assert_eq!(named(&[("user", "7")], "").unwrap(), expected);
        let pair = EntityKey::encode(&[KeyValue::Int64(7), KeyValue::Int32(1)]);
        let both = named(&[("day", "1"), ("user", "7")], "").unwrap();
        assert_eq!(both, [("c".to_owned(), pair)]);
    }

    #[test]
    fn a_view_whose_type_the_value_is_not_of_cannot_hold_the_entity() {
        let views: Vec<_> = named(&[("user", "x")], "").unwrap();
        assert_eq!(views.len(), 1);
        assert_eq!(views[0].0, "b");
    }

    #[test]
    fn a_view_can_be_named() {
        assert_eq!(
            named(&[("user", "7")], "a").unwrap(),
            [("a".to_owned(), int64(7))]
        );
    }

    #[test]
    fn each_mistake_is_named() {
        for (key, view, problem) in [
            (
                &[("user", "x")][..],
                "a",
                "key: join key \"user\" is int64, found another text",
            ),
            (
                &[("user", "7")],
                "d",
                "key: no view has the join keys user and no others",
            ),
            (
                &[("users", "7")],
                "",
                "key: no view has the join keys users and no others",
            ),
            (&[("user", "7")], "z", "view: there is no view \"z\""),
            (
                &[("user", "7"), ("user", "7")],
                "",
                "key: join key \"user\" is named twice",
            ),
            (&[], "", "key: no view has the join keys  and no others"),
        ] {
            assert_eq!(named(key, view).unwrap_err(), problem);
        }
    }
}
