//! The rules as pages for people: an index by tier, and one page for each rule. Made from the rule files alone, so that
//! they say what is in force and never what once was.
//!
//! Pure: a rule set and the names of its test cases in, pages out. `cli/docs.rs` reads and writes.

mod markdown;
mod page;
mod words;

use std::{collections::BTreeMap, sync::Arc};

use self::{
    markdown::{code, prose, row},
    words::{count, limit},
};
use crate::rules::{Rule, RuleSet, diagnostics::Source, header::Tier, levels::Level};

/// How each page begins: by that it is known as one that may be written anew.
pub const MARK: &str = "<!-- Made by `tierwatch docs`";

/// The name of the index.
pub const INDEX: &str = "README.md";

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Where it lies in the folder of the catalogue, with forward slashes.
    pub path: String,
    /// Its Markdown.
    pub text: String,
}

/// The test file beside a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tests {
    /// Where it lies.
    pub path: String,
    /// The names of its cases, in their order.
    pub names: Vec<String>,
}

/// What pages are made of.
pub struct Catalogue<'a> {
    /// The rules.
    pub set: &'a RuleSet,
    /// The test files beside them, by the rule's name.
    pub tests: &'a BTreeMap<String, Tests>,
    /// The way from the folder of the catalogue to a file, with forward slashes.
    pub link: &'a dyn Fn(&str) -> String,
}

/// The tiers in the order in which they stand in the index, with what belongs to them.
const TIERS: [(Tier, &str, &str); 4] = [
    (Tier::Business, "Business", "What the business sells: operations, workflows, money, customers."),
    (Tier::Network, "Network", "Requests, balancers and scaling, as clients see them."),
    (Tier::Data, "Data", "Databases, queues and caches."),
    (Tier::Hardware, "Hardware", "Nodes and their disks."),
];

impl Catalogue<'_> {
    /// The index, and behind it a page for each rule.
    pub fn pages(&self) -> Vec<Page> {
        let mut pages = vec![Page { path: INDEX.to_owned(), text: self.index() }];
        let mut rules: Vec<&Arc<Rule>> = self.set.rules.iter().collect();
        rules.sort_by(|a, b| a.header.name.cmp(&b.header.name));
        pages.extend(rules.into_iter().map(|rule| Page { path: path_of(rule), text: page::text(self, rule) }));
        pages
    }

    fn index(&self) -> String {
        let rules = &self.set.rules;
        let mut text = format!(
            "{MARK}: change the rule files, then run it again. -->\n\n# Rules\n\n{}. Each looks at its events again every few seconds, and gives each of its \
             series, such as each service, a *value* and a *level*: healthy, warning or critical. A level that lasts \
             becomes the *state*, and a state that is not healthy is a *breach*, of which the owner is told. A rule's page \
             says the rest, in words and in SQL.\n\nWhere two limits leave a gap between them, a value in the gap leaves the \
             level as it is.\n",
            count(rules.len(), "rule"),
        );
        let mut contents = Vec::new();
        let mut tables = String::new();
        for (tier, name, what) in TIERS {
            let mut of_tier: Vec<&Arc<Rule>> = rules.iter().filter(|rule| rule.header.tier == tier).collect();
            if of_tier.is_empty() {
                continue;
            }
            of_tier.sort_by(|a, b| a.header.name.cmp(&b.header.name));
            contents.push(format!("[{name}](#{}) ({})", tier.name(), of_tier.len()));
            tables += &format!("\n## {name}\n\n{what}\n\n");
            tables += &row(&["Rule", "Watches", "Unit", "Healthy", "Warning", "Critical", "Owner"]);
            tables += &row(&["---"; 7]);
            for rule in of_tier {
                tables += &index_row(rule);
            }
        }
        contents.push("[By table](#by-table)".to_owned());
        text += &format!("\n{}\n{tables}", contents.join(" · "));
        text + &self.by_table()
    }

    /// Which rules read a table: what to look at where its events change.
    fn by_table(&self) -> String {
        let mut readers: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
        for rule in &self.set.rules {
            for table in &rule.tables {
                readers.entry(table).or_default().push(rule);
            }
        }
        let mut text = String::from("\n## By table\n\nWhich rules read the events of a table.\n\n");
        text += &row(&["Table", "Rules"]);
        text += &row(&["---"; 2]);
        for (table, mut rules) in readers {
            rules.sort_by(|a, b| a.header.name.cmp(&b.header.name));
            let links: Vec<String> =
                rules.iter().map(|rule| format!("[{}]({})", rule.header.name, path_of(rule))).collect();
            text += &row(&[self.table_link(table, ""), links.join(", ")]);
        }
        text
    }

    /// A table's name as a link to its schema; `up` leads from the page to the folder of the catalogue.
    fn table_link(&self, table: &str, up: &str) -> String {
        file_link(table, &self.set.files.tables, ".json", &|path| format!("{up}{}", (self.link)(path)))
    }

    /// A reference table's name as a link to its rows.
    fn reference_link(&self, table: &str, up: &str) -> String {
        file_link(table, &self.set.files.references, ".csv", &|path| format!("{up}{}", (self.link)(path)))
    }
}

/// Where the page of a rule lies in the folder of the catalogue.
fn path_of(rule: &Rule) -> String {
    format!("{}/{}.md", rule.header.tier.name(), rule.header.name)
}

fn file_link(name: &str, files: &[Arc<Source>], ending: &str, link: &dyn Fn(&str) -> String) -> String {
    let of = |source: &&Arc<Source>| {
        source.path.rsplit(['/', '\\']).next().and_then(|file| file.strip_suffix(ending)) == Some(name)
    };
    match files.iter().find(of) {
        Some(source) => format!("[`{name}`]({})", markdown::target(&link(&source.path))),
        None => format!("`{name}`"),
    }
}

fn index_row(rule: &Rule) -> String {
    let header = &rule.header;
    let limit_of = |level: Level| match header.levels.get(&level) {
        Some(predicate) => limit(&predicate.sql),
        None if level == Level::Healthy => "otherwise".to_owned(),
        None => "–".to_owned(),
    };
    let shadow = if header.shadow { " (in shadow)" } else { "" };
    row(&[
        format!("[{}]({}){shadow}", header.name, path_of(rule)),
        prose(&header.title),
        prose(&header.unit),
        limit_of(Level::Healthy),
        limit_of(Level::Warning),
        limit_of(Level::Critical),
        if header.owner.is_empty() { "nobody".to_owned() } else { prose(&header.owner) },
    ])
}

/// Names as code, with commas between.
fn codes<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(code).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
