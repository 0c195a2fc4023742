//! `tierwatch docs`: the rules as pages for people.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use clap::Args;

use super::{FOUND, MISUSED, Outcome, compile, count, read_files, say, settings};
use crate::{
    catalogue::{Catalogue, MARK, Page, Tests},
    config::Config,
    files,
    rule_test::{self, ENDING},
    rules::{RuleSet, diagnostics::Source},
};

/// What `docs` was asked for.
#[derive(Debug, Args)]
pub(super) struct Docs {
    /// Rule files, or folders of them; rules that they read come along [default: rules.path of the configuration]
    rules: Vec<PathBuf>,
    /// The folder of the catalogue: README.md, and a page for each rule
    #[arg(long, value_name = "FOLDER", default_value = "docs/rules")]
    out: PathBuf,
    /// Writes nothing; fails where the folder is not up to date
    #[arg(long)]
    check: bool,
}

impl Docs {
    pub(super) fn run(self, config: &Config) -> Outcome {
        let Some(set) = compile(read_files(config, &self.rules)?, settings(config)) else {
            return Ok(ExitCode::from(FOUND));
        };
        let Some(tests) = tests(&set)? else { return Ok(ExitCode::from(FOUND)) };
        let from = absolute(&self.out)?;
        let link = |path: &str| absolute(Path::new(path)).map_or_else(|_| path.to_owned(), |to| relative(&from, &to));
        let pages = Catalogue { set: &set, tests: &tests, link: &link }.pages();
        let folder = Folder::new(&self.out, &pages)?;
        if let Some(path) = folder.foreign.first() {
            say(&format!(
                "error: {} was not made by `tierwatch docs`, so it is not written over; name another folder with --out, \
                 or move it away",
                self.out.join(path).display()
            ));
            return Ok(ExitCode::from(MISUSED));
        }
        if let (false, Some(path)) = (self.rules.is_empty(), folder.gone.first()) {
            say(&format!(
                "error: {} has pages of rules that were not named, such as {path}; name another folder with --out, or \
                 leave the paths of rules out (`--set rules.path=FOLDER` says where all of them are)",
                self.out.display()
            ));
            return Ok(ExitCode::from(MISUSED));
        }
        if self.check { Ok(folder.check()) } else { folder.write() }
    }
}

/// The test files beside the rules; `None` where one of them cannot be read.
fn tests(set: &RuleSet) -> anyhow::Result<Option<BTreeMap<String, Tests>>> {
    let mut found = BTreeMap::new();
    let mut broken = false;
    for rule in &set.rules {
        let path = format!("{}{ENDING}", rule.source.path.trim_end_matches(".sql"));
        if !Path::new(&path).is_file() {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        match rule_test::names(&Arc::new(Source { path: path.clone(), text })) {
            Ok(names) => _ = found.insert(rule.header.name.clone(), Tests { path, names }),
            Err(message) => {
                say(&format!("error: {message}"));
                broken = true;
            }
        }
    }
    Ok((!broken).then_some(found))
}

/// The folder of the catalogue against the pages that it should have; paths are relative to it.
struct Folder<'a> {
    path: &'a Path,
    /// Pages that are not there.
    missing: Vec<&'a Page>,
    /// Pages that say something else.
    changed: Vec<&'a Page>,
    /// Pages of rules that are not there any more.
    gone: Vec<String>,
    /// Files of somebody else in the place of a page.
    foreign: Vec<String>,
    pages: usize,
}

impl<'a> Folder<'a> {
    fn new(path: &'a Path, pages: &'a [Page]) -> anyhow::Result<Self> {
        let mut folder = Folder {
            path,
            missing: Vec::new(),
            changed: Vec::new(),
            gone: Vec::new(),
            foreign: Vec::new(),
            pages: pages.len(),
        };
        let present = if path.is_dir() { files::with_ending(path, ".md")? } else { Vec::new() };
        // Git may have turned the ends of lines.
        let mut present: BTreeMap<String, String> = present
            .into_iter()
            .map(|source| (relative(path, Path::new(&source.path)), source.text.replace("\r\n", "\n")))
            .collect();
        for page in pages {
            match present.remove(&page.path) {
                None => folder.missing.push(page),
                Some(text) if text == page.text => {}
                Some(text) if text.starts_with(MARK) => folder.changed.push(page),
                Some(_) => folder.foreign.push(page.path.clone()),
            }
        }
        folder.gone = present.into_iter().filter(|(_, text)| text.starts_with(MARK)).map(|(path, _)| path).collect();
        Ok(folder)
    }

    fn check(&self) -> ExitCode {
        let one = |path: &str, what: &str| say(&format!("{} {what}", self.path.join(path).display()));
        for page in &self.missing {
            one(&page.path, "is missing");
        }
        for page in &self.changed {
            one(&page.path, "is not what the rule says now");
        }
        for path in &self.gone {
            one(path, "is of a rule that is not there any more");
        }
        let wrong = self.missing.len() + self.changed.len() + self.gone.len();
        if wrong == 0 {
            say(&format!("{}: {}, up to date", self.path.display(), count(self.pages, "page")));
            return ExitCode::SUCCESS;
        }
        say(&format!(
            "error: {}: {} not up to date; run the same command without --check, and commit what it writes",
            self.path.display(),
            if wrong == 1 { "1 page is".to_owned() } else { format!("{wrong} pages are") }
        ));
        ExitCode::from(FOUND)
    }

    fn write(&self) -> Outcome {
        for page in self.missing.iter().chain(&self.changed) {
            let path = self.path.join(&page.path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
            }
            fs::write(&path, &page.text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        for path in &self.gone {
            let path = self.path.join(path);
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        let written = self.missing.len() + self.changed.len();
        let mut line = format!("{}: {}, {written} written", self.path.display(), count(self.pages, "page"));
        if !self.gone.is_empty() {
            line += &format!(", {} of rules that are gone removed", self.gone.len());
        }
        say(&line);
        Ok(ExitCode::SUCCESS)
    }
}

/// A path from the root, as far as it exists without links and dots: pages must not depend on how a folder is named.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    for there in path.ancestors() {
        if let (Ok(found), Ok(rest)) = (fs::canonicalize(there), path.strip_prefix(there)) {
            return Ok(found.join(rest));
        }
    }
    Ok(path)
}

/// The way from a folder to a file, with forward slashes.
fn relative(from: &Path, to: &Path) -> String {
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) = (from.components().collect(), to.components().collect());
    let common = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
    let up = from[common..].iter().map(|_| "..".to_owned());
    let down = to[common..].iter().map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_the_folder_to_the_file() {
        for (from, to, way) in [
            ("/r/docs/rules", "/r/sql/rules/a.sql", "../../sql/rules/a.sql"),
            ("/r/docs", "/r/docs/a/b.md", "a/b.md"),
            ("docs/rules", "docs/rules/data/x.md", "data/x.md"),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), way);
        }
    }

    #[test]
    fn what_people_wrote_is_not_written_over_and_what_is_gone_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let page = |path: &str, text: &str| Page { path: path.into(), text: format!("{MARK} -->\n{text}") };
        let pages = [page("README.md", "index"), page("data/a.md", "a"), page("data/b.md", "b")];
        Folder::new(folder.path(), &pages).unwrap().write().unwrap();
        assert_eq!(Folder::new(folder.path(), &pages).unwrap().check(), ExitCode::SUCCESS);
        fs::write(folder.path().join("data/own.md"), "by hand").unwrap();
        fs::write(folder.path().join("data/a.md"), "by hand").unwrap();
        let now = [page("README.md", "other"), page("data/a.md", "a"), page("data/c.md", "c")];
        let found = Folder::new(folder.path(), &now).unwrap();
        assert_eq!(found.foreign, ["data/a.md"]);
        assert_eq!(found.gone, ["data/b.md"]);
        assert_eq!(found.missing, [&now[2]]);
        assert_eq!(found.changed, [&now[0]]);
        assert_eq!(found.check(), ExitCode::from(FOUND));
        found.write().unwrap();
        assert!(!folder.path().join("data/b.md").exists() && folder.path().join("data/own.md").exists());
        assert_eq!(fs::read_to_string(folder.path().join("data/a.md")).unwrap(), "by hand");
    }
}
