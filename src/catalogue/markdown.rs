//! Text as Markdown that GitHub shows as it was meant.

/// A text of people, in which nothing is markup.
pub(super) fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    let mut rest =
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().collect::<Vec<_>>().into_iter().peekable();
    while let Some(c) = rest.next() {
        let inside = before.is_alphanumeric() && rest.peek().is_some_and(|c| c.is_alphanumeric());
        let first = out.is_empty() && matches!(c, '#' | '-' | '+' | '=' | '~' | '>');
        let tag = c == '<' && rest.peek().is_some_and(|c| c.is_alphabetic() || matches!(c, '/' | '!' | '?'));
        match c {
            '&' => out.push_str("&amp;"),
            _ if tag => out.push_str("&lt;"),
            '_' if inside => out.push(c),
            '\\' | '`' | '*' | '_' | '[' | ']' | '$' => out.extend(['\\', c]),
            _ if first => out.extend(['\\', c]),
            // "1. " at the beginning of a line would be a list.
            '.' | ')' if !out.is_empty() && out.chars().all(|c| c.is_ascii_digit()) => out.extend(['\\', c]),
            _ => out.push(c),
        }
        before = c;
    }
    out
}

/// Code within a line, its white space as one blank each.
pub(super) fn code(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let fence = "`".repeat(longest_run(&text) + 1);
    if text.is_empty() {
        String::new()
    } else if text.starts_with('`') || text.ends_with('`') {
        format!("{fence} {text} {fence}")
    } else {
        format!("{fence}{text}{fence}")
    }
}

/// Code in lines of its own.
pub(super) fn block(language: &str, text: &str) -> String {
    let fence = "`".repeat((longest_run(text) + 1).max(3));
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A row of a table.
pub(super) fn row<C: AsRef<str>>(cells: &[C]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.as_ref().replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The path of a link; blanks and brackets would end it.
pub(super) fn target(path: &str) -> String {
    let mut out = String::new();
    for c in path.chars() {
        match c {
            ' ' | '(' | ')' | '<' | '>' | '%' | '|' => out += &format!("%{:02X}", u32::from(c)),
            _ => out.push(c),
        }
    }
    out
}

/// An address of the web as a link to itself; anything else as code.
pub(super) fn address(url: &str) -> String {
    let web = url.starts_with("https://") || url.starts_with("http://");
    if web && !url.contains(|c: char| c.is_whitespace() || "<>|".contains(c)) { format!("<{url}>") } else { code(url) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        for (text, shown) in [
            ("a_b and _c_", "a_b and \\_c\\_"),
            ("x < 3 & `y` | *z*", "x < 3 &amp; \\`y\\` | \\*z\\*"),
            ("a<b> and <!-- c -->", "a&lt;b> and &lt;!-- c -->"),
            ("# 1", "\\# 1"),
            ("1. one\n  two", "1\\. one two"),
            ("[no](link)", "\\[no\\](link)"),
        ] {
            assert_eq!(prose(text), shown);
        }
    }

    #[test]
    fn code_and_tables_keep_what_they_hold() {
        assert_eq!(code("a  ||\n b"), "`a || b`");
        assert_eq!(code("a ` b"), "``a ` b``");
        assert_eq!(code("`a`"), "`` `a` ``");
        assert_eq!(row(&["`a || b`", "c"]), "| `a \\|\\| b` | c |\n");
        assert_eq!(block("sql", "SELECT '```'\n"), "````sql\nSELECT '```'\n````\n");
        assert_eq!(target("a b/(c).sql"), "a%20b/%28c%29.sql");
        assert_eq!(address("https://x/y"), "<https://x/y>");
        assert_eq!(address("wiki page"), "`wiki page`");
    }
}
