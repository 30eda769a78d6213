//! Rows in key order, read page by page.

use std::collections::VecDeque;

use super::super::super::error::CliError;
use super::decide::Facts;
use crate::model::EntityKey;

/// What is known of an entity.
#[derive(Debug)]
pub struct Row {
    /// Which.
    pub key: EntityKey,
    /// What is known of it.
    pub facts: Facts,
}

/// Where rows come from.
pub trait Pages {
    /// The next rows in key order; none at the end.
    ///
    /// # Errors
    /// If they cannot be read.
    async fn next(&mut self) -> Result<Vec<Row>, CliError>;
}

/// Rows, of which the next one is known.
pub struct Ahead<P> {
    pages: P,
    read: VecDeque<Row>,
    is_over: bool,
}

impl<P: Pages> Ahead<P> {
    /// From the first row on.
    pub fn new(pages: P) -> Ahead<P> {
        Ahead {
            pages,
            read: VecDeque::new(),
            is_over: false,
        }
    }

    /// The key of the next row; `None` at the end.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn key(&mut self) -> Result<Option<&EntityKey>, CliError> {
        if self.read.is_empty() && !self.is_over {
            self.read = self.pages.next().await?.into();
            self.is_over = self.read.is_empty();
        }
        Ok(self.read.front().map(|row| &row.key))
    }

    /// Takes the next row, if that is the one of this key.
    pub fn take(&mut self, key: &EntityKey) -> Option<Facts> {
        let row = self.read.pop_front_if(|row| row.key == *key);
        row.map(|row| row.facts)
    }
}
