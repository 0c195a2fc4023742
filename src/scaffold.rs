//! A new rule from a table and a few answers: the rule and its test, both valid as they stand.
//!
//! Pure: the tables, the rules that are there already and answers in; texts out. `cli/new.rs` asks, reads and writes.
//! What is not answered is taken from the table's schema, and from how the other rules do it.

mod cases;
mod condition;
mod limits;
mod rule;
mod test_file;
mod usual;

use std::{collections::BTreeMap, sync::Arc};

use self::usual::{bad_events, default_by, runbooks, slide_ms};
pub use self::{condition::Condition, limits::Limit, rule::rule_text, test_file::test_text};
use crate::{
    panes::first_end_after,
    rules::{
        Rule,
        catalog::{Catalog, Column, Kind, Table},
        diagnostics::did_you_mean,
        header::Tier,
        levels::Level,
    },
    time,
};

/// What is known before anything is asked.
pub struct Known<'a> {
    /// The tables.
    pub catalog: &'a Arc<Catalog>,
    /// The rules that are there already.
    pub rules: &'a [Arc<Rule>],
    /// The names that are taken, each with its file.
    pub taken: &'a BTreeMap<String, String>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The part of the events for which a condition holds.
    Ratio,
    /// How many events there are.
    Count,
    /// How many events a second there are.
    Rate,
    /// The sum of a column.
    Sum,
    /// The average of a column.
    Average,
    /// What most values of a column keep below.
    Percentile,
    /// The greatest value of a column.
    Maximum,
    /// The greatest value of a column that says how old something is: silence makes nothing younger.
    Age,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Ratio, Self::Count, Self::Rate, Self::Sum, Self::Average, Self::Percentile, Self::Maximum, Self::Age];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Count => "count",
            Self::Rate => "rate",
            Self::Sum => "sum",
            Self::Average => "average",
            Self::Percentile => "percentile",
            Self::Maximum => "maximum",
            Self::Age => "age",
        }
    }

    /// What it is, for people who choose.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Ratio => "which part of the events meets a condition",
            Self::Count => "how many events there are",
            Self::Rate => "how many events a second there are",
            Self::Sum => "the sum of a column",
            Self::Average => "the average of a column",
            Self::Percentile => "what 95% of a column's values keep below (another part with --percentile)",
            Self::Maximum => "the greatest value of a column",
            Self::Age => "the greatest age or lag in a column; silence is a warning",
        }
    }

    /// True where it is made of a column.
    pub fn has_column(self) -> bool {
        !matches!(self, Self::Ratio | Self::Count | Self::Rate)
    }

    /// True where no events are a value too: none.
    fn is_of_nothing_zero(self) -> bool {
        matches!(self, Self::Count | Self::Rate | Self::Sum)
    }
}

/// What can be said on the command line, and asked for. In the order in which it is taken: each needs those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// Whose events are watched.
    Table,
    /// What is measured.
    Measure,
    /// Of which column.
    Column,
    /// Which part of the values of a percentile, from 0 to 1.
    Percentile,
    /// Which events.
    Where,
    /// What the series are.
    By,
    /// How long windows are.
    Window,
    /// The unit of the value.
    Unit,
    /// From where on it is a warning.
    Warning,
    /// From where on it is critical.
    Critical,
    /// Which tier it belongs to.
    Tier,
    /// Who mends it.
    Owner,
}

impl Flag {
    /// All of them, in the order in which they are taken.
    pub const ALL: [Self; 12] = [
        Self::Table,
        Self::Measure,
        Self::Column,
        Self::Percentile,
        Self::Where,
        Self::By,
        Self::Window,
        Self::Unit,
        Self::Warning,
        Self::Critical,
        Self::Tier,
        Self::Owner,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "--table",
            Self::Measure => "--measure",
            Self::Column => "--column",
            Self::Percentile => "--percentile",
            Self::Where => "--where",
            Self::By => "--by",
            Self::Window => "--window",
            Self::Unit => "--unit",
            Self::Warning => "--warning",
            Self::Critical => "--critical",
            Self::Tier => "--tier",
            Self::Owner => "--owner",
        }
    }
}

/// Something to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What it is about.
    pub flag: Flag,
    /// The question, without its default.
    pub text: String,
    /// What is taken where nothing is answered.
    pub default: Option<String>,
}

/// The answers so far.
#[derive(Debug, Clone)]
pub struct Draft {
    name: String,
    table: Option<Arc<Table>>,
    measure: Option<Measure>,
    column: Option<Column>,
    percentile: f64,
    condition: Option<Option<Condition>>,
    by: Option<Vec<String>>,
    window_ms: Option<i64>,
    unit: Option<String>,
    warning: Option<Option<Limit>>,
    critical: Option<Option<Limit>>,
    tier: Option<Tier>,
    owner: Option<String>,
}

/// All answers: a rule can be made of them.
#[derive(Debug, Clone)]
pub struct Answers {
    pub(crate) name: String,
    pub(crate) table: Arc<Table>,
    pub(crate) measure: Measure,
    pub(crate) column: Option<Column>,
    pub(crate) percentile: f64,
    pub(crate) condition: Option<Condition>,
    pub(crate) by: Vec<String>,
    pub(crate) window_ms: i64,
    pub(crate) slide_ms: i64,
    pub(crate) unit: String,
    pub(crate) limits: BTreeMap<Level, Limit>,
    /// True where greater is worse.
    pub(crate) above: bool,
    pub(crate) owner: String,
    pub(crate) runbook_url: String,
    /// Its tier: the folder it belongs into.
    pub tier: Tier,
}

/// The word that leaves something out.
const NONE: &str = "none";

const TIERS: [Tier; 4] = [Tier::Network, Tier::Hardware, Tier::Data, Tier::Business];
const MINUTE_MS: i64 = 60_000;
/// Columns that nearly every table has, and that tell nothing apart.
const COMMON: [&str; 4] = ["service", "service_version", "environment", "trace_id"];

impl Answers {
    /// The table whose events are watched.
    pub fn table_name(&self) -> &str {
        &self.table.name
    }
}

impl Draft {
    /// A rule of that name, of which nothing else is known.
    pub fn new(name: &str, known: &Known<'_>) -> Result<Self, String> {
        let word = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && name.starts_with(|c: char| c.is_ascii_lowercase());
        if !word || name.len() > 100 {
            let near: String = name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
                .skip_while(|c| !c.is_ascii_lowercase())
                .take(100)
                .collect();
            let hint = if near.is_empty() { String::new() } else { format!(", such as {near}") };
            return Err(format!("`{name}` is no name for a rule: lower-case letters, digits and _, at most 100{hint}"));
        }
        if let Some(file) = known.taken.get(name) {
            return Err(format!(
                "the name `{name}` is taken by {file}: a rule's name is its identity, so choose another"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            table: None,
            measure: None,
            column: None,
            percentile: 0.95,
            condition: None,
            by: None,
            window_ms: None,
            unit: None,
            warning: None,
            critical: None,
            tier: None,
            owner: None,
        })
    }

    /// Takes an answer, or says what is wrong with it.
    pub fn take(&mut self, flag: Flag, answer: &str, known: &Known<'_>) -> Result<(), String> {
        let answer = answer.trim();
        let mut next = self.clone();
        match flag {
            Flag::Table => next.table = Some(find_table(answer, known)?),
            Flag::Measure => next.measure = Some(next.find_measure(answer)?),
            Flag::Column => next.column = Some(next.find_column(answer)?),
            Flag::Percentile => next.percentile = next.find_percentile(answer)?,
            Flag::Where => next.condition = Some(next.find_condition(answer, known)?),
            Flag::By => next.by = Some(next.find_by(answer)?),
            Flag::Window => next.window_ms = Some(next.find_window(answer)?),
            Flag::Unit => next.unit = Some(answer.to_owned()),
            Flag::Warning => next.warning = Some(find_limit(answer)?),
            Flag::Critical => next.critical = Some(find_limit(answer)?),
            Flag::Tier => next.tier = Some(find_tier(answer)?),
            Flag::Owner if answer.is_empty() => return Err("a rule needs an owner: the team that mends it".into()),
            Flag::Owner => next.owner = Some(answer.to_owned()),
        }
        if matches!(flag, Flag::Warning | Flag::Critical) {
            next.find_levels()?;
        }
        *self = next;
        Ok(())
    }

    /// What was not said and has no default: what must be given where nobody can be asked.
    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.table.is_none() {
            missing.push("--table");
        }
        match self.measure {
            None => missing.push("--measure"),
            Some(Measure::Ratio) if self.condition.is_none() => missing.push("--where"),
            Some(measure) if measure.has_column() && self.column.is_none() && self.table.is_some() => {
                if self.default_column(measure).is_none() {
                    missing.push("--column");
                }
            }
            Some(_) => {}
        }
        if self.warning.is_none() && self.critical.is_none() {
            missing.extend(["--warning", "--critical"]);
        }
        missing
    }

    /// The next question; `None` where all is answered.
    pub fn question(&self, known: &Known<'_>) -> Option<Question> {
        let ask = |flag, text: &str, default: Option<String>| Some(Question { flag, text: text.to_owned(), default });
        let Some(table) = &self.table else {
            let names: Vec<&str> = known.catalog.tables.keys().map(String::as_str).collect();
            return ask(Flag::Table, &format!("Whose events? ({})", names.join(", ")), None);
        };
        let Some(measure) = self.measure else {
            let lines: Vec<String> =
                Measure::ALL.iter().map(|one| format!("\n  {:<11} {}", one.name(), one.describe())).collect();
            let default = if table.interval_ms.is_some() { Measure::Average } else { Measure::Ratio };
            return ask(
                Flag::Measure,
                &format!("What is measured?{}\nMeasure", lines.concat()),
                Some(default.name().into()),
            );
        };
        if measure.has_column() && self.column.is_none() {
            let names: Vec<&str> = numbers(table).map(|column| column.name.as_str()).collect();
            let default = self.default_column(measure).map(|column| column.name.clone());
            return ask(
                Flag::Column,
                &format!("The {} of which column? ({})", measure.name(), names.join(", ")),
                default,
            );
        }
        if self.condition.is_none() {
            return if measure == Measure::Ratio {
                ask(Flag::Where, "The part of the events that meets which condition? (SQL)", bad_events(table))
            } else {
                ask(Flag::Where, "Of which events? (a condition in SQL, none for all of them)", Some(NONE.into()))
            };
        }
        if self.by.is_none() {
            let default = default_by(table);
            let default = if default.is_empty() { NONE.to_owned() } else { default.join(",") };
            return ask(
                Flag::By,
                "One series for each what? (columns with commas between, none for a single series)",
                Some(default),
            );
        }
        let unit = self.unit_of(measure);
        let (warning, critical) = self.usual_limits(measure, &unit);
        if self.warning.is_none() {
            let text = format!(
                "Beyond which value is it a warning? (unit {unit}; <VALUE where less is worse, none for no warning)"
            );
            let default = if self.critical.is_some() { Some(NONE.to_owned()) } else { warning };
            return ask(Flag::Warning, &text, default);
        }
        if self.critical.is_none() {
            let text = format!("And beyond which is it critical? (unit {unit}; none for no such level)");
            let default = match &self.warning {
                Some(Some(given)) if warning.as_deref() == Some(given.text.as_str()) => critical,
                Some(Some(_)) => Some(NONE.to_owned()),
                _ => None,
            };
            return ask(Flag::Critical, &text, default);
        }
        if self.tier.is_none() {
            let names = TIERS.map(Tier::name).join(", ");
            return ask(Flag::Tier, &format!("Which tier? ({names})"), Some(self.usual_tier(known).name().to_owned()));
        }
        if self.owner.is_none() {
            return ask(Flag::Owner, "Who mends it?", self.usual_owner(known));
        }
        None
    }

    /// What is taken for `question` where nobody can be asked.
    pub fn unasked(question: &Question) -> Option<String> {
        match (question.flag, &question.default) {
            // Half of the levels was given; the other half is left out rather than made up.
            (Flag::Warning | Flag::Critical, _) => Some(NONE.to_owned()),
            (Flag::Owner, None) => Some("nobody-yet".to_owned()),
            (_, default) => default.clone(),
        }
    }

    /// All answers together.
    pub fn finish(self, known: &Known<'_>) -> Result<Answers, String> {
        let question = self.question(known);
        let (Some(table), Some(measure), None) = (&self.table, self.measure, &question) else {
            let flag = question.map_or("--table", |question| question.flag.name());
            return Err(format!("{flag} is missing"));
        };
        let (limits, above) = self.find_levels()?;
        let slide_ms = slide_ms(table);
        let usual = match measure {
            Measure::Ratio | Measure::Count | Measure::Sum => 5 * MINUTE_MS,
            _ => MINUTE_MS,
        };
        let reports = table.interval_ms.map_or(0, |interval| 2 * interval);
        let window_ms = self.window_ms.unwrap_or_else(|| first_end_after(usual.max(reports) - 1, slide_ms));
        let tier = self.tier.unwrap_or(Tier::Business);
        Ok(Answers {
            unit: self.unit_of(measure),
            runbook_url: format!("{}{}", runbooks(known), self.name.replace('_', "-")),
            name: self.name,
            table: Arc::clone(table),
            measure,
            column: self.column.filter(|_| measure.has_column()),
            percentile: self.percentile,
            condition: self.condition.flatten(),
            by: self.by.unwrap_or_default(),
            window_ms,
            slide_ms,
            limits,
            above,
            owner: self.owner.unwrap_or_default(),
            tier,
        })
    }

    fn table(&self) -> Result<&Arc<Table>, String> {
        self.table.as_ref().ok_or_else(|| "--table is not known yet".to_owned())
    }

    fn find_measure(&self, name: &str) -> Result<Measure, String> {
        let Some(measure) = Measure::ALL.into_iter().find(|measure| measure.name() == name) else {
            let names = Measure::ALL.map(Measure::name);
            let hint = did_you_mean(name, names);
            let hint = if hint.is_empty() { format!("it is one of {}", names.join(", ")) } else { hint };
            return Err(format!("`{name}` is no measure; {hint}"));
        };
        if let (true, Some(table)) = (measure.has_column(), &self.table)
            && numbers(table).next().is_none()
        {
            return Err(format!("no column of `{}` is a number; ratio, count and rate are of its events", table.name));
        }
        Ok(measure)
    }

    fn find_column(&self, name: &str) -> Result<Column, String> {
        let table = self.table()?;
        if let Some(measure) = self.measure.filter(|measure| !measure.has_column()) {
            return Err(format!("{} is of events, not of a column; say which events with --where", measure.name()));
        }
        let column = column_of(table, name)?;
        if !matches!(column.kind, Kind::Integer | Kind::Number | Kind::Decimal(..)) {
            let names: Vec<&str> = numbers(table).map(|column| column.name.as_str()).collect();
            return Err(format!(
                "`{name}` is {}, not a number; the numbers of `{}` are {}",
                column.kind.describe(),
                table.name,
                names.join(", ")
            ));
        }
        Ok(column.clone())
    }

    fn find_percentile(&self, text: &str) -> Result<f64, String> {
        if self.measure != Some(Measure::Percentile) {
            return Err("this is for --measure percentile".into());
        }
        let part: f64 = text.parse().map_err(|_| format!("`{text}` is not a number from 0 to 1, such as 0.99"))?;
        if part > 1.0 && part < 100.0 {
            return Err(format!("{text} lies beyond 1; write {} for {text}%", part / 100.0));
        }
        (0.0 < part && part < 1.0).then_some(part).ok_or_else(|| format!("{text} does not lie between 0 and 1"))
    }

    fn find_condition(&self, text: &str, known: &Known<'_>) -> Result<Option<Condition>, String> {
        if text.is_empty() || text == NONE {
            return match self.measure {
                Some(Measure::Ratio) => Err("a ratio needs a condition, such as status_code >= 500".into()),
                _ => Ok(None),
            };
        }
        Condition::new(text, self.table()?, known.catalog).map(Some)
    }

    fn find_by(&self, text: &str) -> Result<Vec<String>, String> {
        let table = self.table()?;
        let mut by: Vec<String> = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != NONE) {
            let column = column_of(table, name)?;
            if column.masked {
                return Err(format!(
                    "`{name}` is personal, and would stand in every reading and alert; name another column"
                ));
            }
            if endless(column) {
                return Err(format!(
                    "`{name}` has ever new values, so the series would have no bound; name another column"
                ));
            }
            if !by.iter().any(|other| other == name) {
                by.push(name.to_owned());
            }
        }
        Ok(by)
    }

    fn find_window(&self, text: &str) -> Result<i64, String> {
        let table = self.table()?;
        let ms = time::parse_span(text)?;
        let slide = slide_ms(table);
        if ms <= 0 || ms % slide != 0 {
            return Err(format!("a window is a multiple of {}, by which it moves on", time::span(slide)));
        }
        if let Some(interval) = table.interval_ms.filter(|interval| ms < 2 * interval) {
            let (every, least) = (time::span(interval), time::span(2 * interval));
            return Err(format!("`{}` reports every {every}, so a window is at least {least} long", table.name));
        }
        Ok(ms)
    }

    /// The levels and on which side they lie, as far as they are known.
    fn find_levels(&self) -> Result<(BTreeMap<Level, Limit>, bool), String> {
        let given = [(Level::Warning, &self.warning), (Level::Critical, &self.critical)];
        let limits: BTreeMap<Level, Limit> =
            given.into_iter().filter_map(|(level, limit)| Some((level, limit.clone()??))).collect();
        if limits.is_empty() && self.warning.is_some() && self.critical.is_some() {
            return Err("neither --warning nor --critical: such a rule can never fire".into());
        }
        let above = limits::above(&limits)?;
        if let Some(measure) = self.measure {
            limits::possible(&limits, above, &self.range(measure))?;
        }
        Ok((limits, above))
    }
}

fn find_table(name: &str, known: &Known<'_>) -> Result<Arc<Table>, String> {
    known.catalog.tables.get(name).cloned().ok_or_else(|| {
        let hint = did_you_mean(name, known.catalog.tables.keys().map(String::as_str));
        let all: Vec<&str> = known.catalog.tables.keys().map(String::as_str).collect();
        let hint = if hint.is_empty() { format!("the tables are {}", all.join(", ")) } else { hint };
        format!("there is no table `{name}`; {hint}")
    })
}

fn find_tier(name: &str) -> Result<Tier, String> {
    TIERS.into_iter().find(|tier| tier.name() == name).ok_or_else(|| {
        let names = TIERS.map(Tier::name);
        let hint = did_you_mean(name, names);
        let hint = if hint.is_empty() { format!("it is one of {}", names.join(", ")) } else { hint };
        format!("`{name}` is no tier; {hint}")
    })
}

fn find_limit(text: &str) -> Result<Option<Limit>, String> {
    if text == NONE { Ok(None) } else { Limit::new(text).map(Some) }
}

/// The column of that name, or what is near it.
fn column_of<'a>(table: &'a Table, name: &str) -> Result<&'a Column, String> {
    table.column(name).ok_or_else(|| {
        let hint = did_you_mean(name, table.columns.iter().map(|column| column.name.as_str()));
        let all: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let hint = if hint.is_empty() { format!("its columns are {}", all.join(", ")) } else { hint };
        format!("`{}` has no column `{name}`; {hint}", table.name)
    })
}

fn numbers(table: &Table) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter(|column| matches!(column.kind, Kind::Integer | Kind::Number | Kind::Decimal(..)))
}

/// True where a column has ever new values.
fn endless(column: &Column) -> bool {
    matches!(column.kind, Kind::Number | Kind::Time | Kind::Decimal(..)) || column.name.ends_with("_id")
}

#[cfg(test)]
mod tests;
