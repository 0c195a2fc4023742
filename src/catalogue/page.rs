//! The page of one rule.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Catalogue, MARK, codes,
    markdown::{address, block, code, prose, row, target},
    path_of,
    words::{self, count, each, list, span},
};
use crate::rules::{Rule, RuleSet, catalog::OF_RULE, levels::Level, plan::FoldUse, template::outline};

/// From a page to the folder of the catalogue.
const UP: &str = "../";

/// The page.
pub(super) fn text(catalogue: &Catalogue<'_>, rule: &Rule) -> String {
    let header = &rule.header;
    let file = target(&format!("{UP}{}", (catalogue.link)(&rule.source.path)));
    let mut text =
        format!("{MARK} from {file}: change that file, then run it again. -->\n\n# {}\n\n", prose(&header.title));
    text += &format!(
        "`{}` · [all rules]({UP}README.md) · [tier {}]({UP}README.md#{}) · [rule file]({file})\n",
        header.name,
        header.tier.name(),
        header.tier.name()
    );
    if header.shadow {
        text += "\n**In shadow:** its readings are stored and shown, but nobody is alerted.\n";
    }
    for line in filled(rule, &header.annotations.description).lines().filter(|line| !line.is_empty()) {
        text += &format!("\n{line}\n");
    }
    let summary = filled(rule, &header.annotations.summary);
    if !summary.is_empty() {
        text += &format!("\nAn alert says, with the names in italics filled in:\n\n> {}\n", summary.replace('\n', " "));
    }
    text += &facts(rule);
    text += &levels(rule);
    text += &alerting(rule);
    text += &silence(catalogue, rule);
    text += &history(catalogue, rule);
    text += &diagnose(rule);
    text += &reads(catalogue, rule);
    text += &format!("\n## SQL\n\n{}", block("sql", sql(rule)));
    text + &tests(catalogue, rule)
}

/// A text of the header with the names of columns in italics; as code where it computes with them.
fn filled(rule: &Rule, text: &str) -> String {
    // Characters for private use, which nobody writes, stand for the marks until the text is escaped.
    let marked = outline(text, &rule.header, &rule.output, |name| format!("\u{e000}{name}\u{e001}"));
    let Some(marked) = marked else { return code(text) };
    let lines: Vec<String> = marked.lines().map(prose).collect();
    lines.join("\n").replace(['\u{e000}', '\u{e001}'], "*")
}

fn facts(rule: &Rule) -> String {
    let header = &rule.header;
    let name = |at: &usize| rule.output.schema.field(*at).name().as_str();
    let mut text = String::from("\n");
    let mut fact = |what: &str, is: String| text += &row(&[what, is.as_str()]);
    fact("", String::new());
    fact("---", "---".to_owned());
    fact("Owner", if header.owner.is_empty() { "nobody".to_owned() } else { prose(&header.owner) });
    if !header.annotations.runbook_url.is_empty() {
        fact("Runbook", address(&header.annotations.runbook_url));
    }
    if !header.labels.is_empty() {
        let labels: Vec<String> = header.labels.iter().map(|(name, value)| code(&format!("{name}: {value}"))).collect();
        fact("Labels", labels.join(", "));
    }
    if !header.unit.is_empty() {
        fact("Unit", prose(&header.unit));
    }
    fact("Evaluated", format!("every {}", each(rule.slide_ms)));
    fact(
        "Series",
        match rule.output.keys.as_slice() {
            [] => "one".to_owned(),
            keys => format!("one for each {}", list(&keys.iter().map(|at| code(name(at))).collect::<Vec<_>>(), "and")),
        },
    );
    let of_history: BTreeSet<&str> = rule.history.steps.iter().map(|step| step.name.as_str()).collect();
    let kept = rule.output.samples.iter().chain(&rule.output.measures).chain(&rule.output.labels).map(name);
    let kept: Vec<&str> = kept.filter(|name| !of_history.contains(name)).collect();
    if !kept.is_empty() {
        fact("Kept beside `value`", codes(kept));
    }
    text
}

fn levels(rule: &Rule) -> String {
    let header = &rule.header;
    let mut text = String::from("\n## Levels\n\n");
    let ends = !header.until.is_empty();
    let mut head = vec!["Level", "When", "Becomes the state after"];
    if ends {
        head.push("Is left only when");
    }
    text += &row(&head);
    text += &row(&vec!["---"; head.len()]);
    for level in Level::ALL {
        let when = match header.levels.get(&level) {
            Some(predicate) => code(&predicate.sql),
            None if level == Level::Healthy && header.levels.len() > 1 => "neither of the others holds".to_owned(),
            None if level == Level::Healthy => "the other does not hold".to_owned(),
            None => continue,
        };
        let wait = match level {
            Level::Healthy => header.keep_firing_ms,
            severe => header.for_ms.get(&severe).copied().unwrap_or(0),
        };
        let mut cells = vec![level.name().to_owned(), when, if wait == 0 { "at once".to_owned() } else { span(wait) }];
        if ends {
            cells.push(header.until.get(&level).map(|predicate| code(&predicate.sql)).unwrap_or_default());
        }
        text += &row(&cells);
    }
    text += "\nWhere more than one holds, the most severe wins.";
    match &rule.bands {
        None if header.levels.contains_key(&Level::Healthy) => {
            text += " Where none holds, the series keeps the level that it had.\n";
        }
        None => text += "\n",
        Some(bands) => {
            text += "\n";
            for gap in words::gaps(bands, header) {
                text += &format!("\n{gap}\n");
            }
        }
    }
    text
}

/// From levels to alerts.
fn alerting(rule: &Rule) -> String {
    let header = &rule.header;
    let mut text = String::from("\n## From level to alert\n\n");
    let mut point = |what: &str, is: &str| text += &format!("- **{what}:** {is}\n");
    point("Worse", &words::worse(header));
    point("Better", &words::milder(header));
    match &header.judge_when {
        Some(when) => point(
            "Thin traffic",
            &format!(
                "A reading is judged only where {}. Others are stored, but neither begin nor end anything; so are \
                 those without a value.",
                code(&when.sql)
            ),
        ),
        None => point("Thin traffic", "Every reading with a value is judged, however few events are behind it."),
    }
    if let Some(ms) = header.repeat_ms {
        point("Again", &format!("A breach that stays open is told again every {}.", each(ms)));
    }
    text
}

fn silence(catalogue: &Catalogue<'_>, rule: &Rule) -> String {
    let header = &rule.header;
    let mut text = format!("\n## Silence\n\n{}\n", words::silence(rule));
    let forget = span(header.no_data.forget_ms);
    match &header.expect {
        Some(expect) => {
            text += &format!(
                "\nExpected from the start, and never forgotten, are the rows of {} (by {}): {}. Any other series is \
                 forgotten after {forget} without events.\n",
                catalogue.reference_link(&expect.table, UP),
                codes(expect.columns.iter().map(String::as_str)),
                if rule.expected.len() == 1 {
                    "1 series".to_owned()
                } else {
                    format!("{} series", rule.expected.len())
                }
            );
        }
        None => {
            text += &format!(
                "\nOnly series that have been heard of can fall silent. One without events for {forget} is forgotten, and \
                 a breach of it ends.\n"
            );
        }
    }
    text
}

fn history(catalogue: &Catalogue<'_>, rule: &Rule) -> String {
    if rule.history.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n## Looking back\n\nColumns made of earlier readings of the same series. They step by whole windows, of {}.\n\n",
        span(rule.history.step_ms)
    );
    text += &row(&["Column", "Made by", "Is"]);
    text += &row(&["---"; 3]);
    for ((name, predicate), step) in rule.header.history.iter().zip(&rule.history.steps) {
        text += &row(&[code(name), code(&predicate.sql), words::history(step, rule)]);
    }
    if !rule.history.learnt.is_empty() {
        let path = format!("{}{}", rule.source.path.trim_end_matches(".sql"), crate::rules::history::LEARNT);
        let link = target(&format!("{UP}{}", (catalogue.link)(&path)));
        text += &format!("\nWhat is usual was learnt beforehand, and lies in a [file beside the rule]({link}).\n");
    }
    text
}

fn diagnose(rule: &Rule) -> String {
    let (Some(asked), Some(plan)) = (&rule.header.diagnose, &rule.diagnosis) else { return String::new() };
    let which = match &asked.offending {
        Some(predicate) => format!("the events of the window for which {} holds", code(&predicate.sql)),
        None => "the events of the window".to_owned(),
    };
    let column = |(name, masked): (&String, &bool)| {
        if *masked { format!("{} (personal, so as pseudonyms)", code(name)) } else { code(name) }
    };
    let columns: Vec<String> = plan.by.iter().zip(&plan.masked).map(column).collect();
    let named = if columns.is_empty() {
        format!("A breach event counts {which}, and names some of their traces.")
    } else {
        let most = if plan.top == 1 { "value" } else { "values" };
        format!(
            "A breach event looks at {which}. It names the {} most frequent {most} of {}, each with its share and with \
             how that differs from the window before, and some traces.",
            plan.top,
            list(&columns, "and")
        )
    };
    format!("\n## What a breach event explains\n\n{named}\n")
}

fn reads(catalogue: &Catalogue<'_>, rule: &Rule) -> String {
    let mut text = String::from("\n## What it reads\n\n");
    text += &row(&["From", "Columns", "Window", "Moves on every"]);
    text += &row(&["---"; 4]);
    // By table: its columns, and its windows with their slides.
    let mut tables: BTreeMap<&str, Vec<&FoldUse>> = BTreeMap::new();
    for fold in rule.all_folds() {
        tables.entry(&fold.spec.table.name).or_default().push(fold);
    }
    for (table, folds) in tables {
        let columns: BTreeSet<String> = folds.iter().flat_map(|fold| fold.spec.columns()).collect();
        let own = folds.iter().filter(|fold| rule.folds.iter().any(|own| own.hop == fold.hop));
        let hops: BTreeSet<_> = own.map(|fold| (fold.hop.ago_ms, fold.hop.size_ms, fold.hop.slide_ms)).collect();
        let hops: Vec<crate::panes::Hop> = hops
            .into_iter()
            .map(|(ago_ms, size_ms, slide_ms)| crate::panes::Hop { slide_ms, size_ms, ago_ms })
            .collect();
        let windows: Vec<String> = hops.iter().map(|hop| words::window(*hop)).collect();
        let slides: BTreeSet<i64> = hops.iter().map(|hop| hop.slide_ms).collect();
        let from = match table.strip_prefix(OF_RULE) {
            Some(name) => format!("readings of {}", rule_link(catalogue.set, name)),
            None => format!("events of {}", catalogue.table_link(table, UP)),
        };
        let columns = if columns.is_empty() {
            "only how many there are".to_owned()
        } else {
            codes(columns.iter().map(String::as_str))
        };
        text += &row(&[
            from,
            columns,
            list(&windows, "and"),
            list(&slides.into_iter().map(each).collect::<Vec<_>>(), "and"),
        ]);
    }
    if !rule.references.is_empty() {
        let links: Vec<String> = rule.references.iter().map(|name| catalogue.reference_link(name, UP)).collect();
        text += &format!("\nReference data: {}.\n", links.join(", "));
    }
    let mut readers: Vec<&str> = catalogue
        .set
        .rules
        .iter()
        .filter(|other| other.reads.contains(&rule.header.name))
        .map(|other| other.header.name.as_str())
        .collect();
    readers.sort_unstable();
    if !readers.is_empty() {
        let links: Vec<String> = readers.iter().map(|name| rule_link(catalogue.set, name)).collect();
        text += &format!("\nRules that read its readings: {}.\n", links.join(", "));
    }
    text
}

/// A rule's name as a link to its page.
fn rule_link(set: &RuleSet, name: &str) -> String {
    set.rule(name).map_or_else(|| code(name), |rule| format!("[{name}]({UP}{})", path_of(rule)))
}

/// The SQL as it stands in the file.
fn sql(rule: &Rule) -> &str {
    rule.source.text.split_once("*/").map_or("", |(_, sql)| sql.trim())
}

fn tests(catalogue: &Catalogue<'_>, rule: &Rule) -> String {
    let mut text = String::from("\n## Tests\n\n");
    match catalogue.tests.get(&rule.header.name) {
        Some(tests) => {
            let link = target(&format!("{UP}{}", (catalogue.link)(&tests.path)));
            text += &format!("{} in its [test file]({link}):\n\n", count(tests.names.len(), "case"));
            for name in &tests.names {
                text += &format!("- {}\n", prose(name));
            }
        }
        None => text += &format!("There is no `{}.test.yaml` beside the rule.\n", rule.header.name),
    }
    text
}
