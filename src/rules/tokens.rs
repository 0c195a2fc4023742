//! What can be seen of an expression before it is parsed: how deep it will be.

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    keywords::Keyword,
    tokenizer::{Location, Token, TokenWithSpan, Tokenizer},
};

/// Operators in a row become an expression as deep as they are many, and whoever walks it needs a stack as deep.
pub(super) const CHAIN_MAX: usize = 150;

/// Where a chain of operators is too long.
pub(super) fn long_chain(tokens: &[TokenWithSpan]) -> Option<Location> {
    let mut chains = vec![0_usize];
    for token in tokens {
        let chain = chains.last_mut()?;
        match &token.token {
            Token::LParen | Token::LBracket => chains.push(0),
            Token::RParen | Token::RBracket => {
                chains.pop();
                if chains.is_empty() {
                    chains.push(0);
                }
            }
            Token::Comma | Token::SemiColon => *chain = 0,
            Token::Word(word) => match word.keyword {
                Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::IS | Keyword::LIKE | Keyword::AT => *chain += 1,
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::JOIN | Keyword::WHEN => *chain += 1,
                Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::THEN | Keyword::GROUP => *chain = 0,
                _ => {}
            },
            Token::Number(..) | Token::SingleQuotedString(_) | Token::Whitespace(_) | Token::Period => {}
            _ => *chain += 1,
        }
        if chains.last().is_some_and(|chain| *chain > CHAIN_MAX) {
            return Some(token.span.start);
        }
    }
    None
}

/// True where an expression of the header has such a chain.
pub(super) fn is_long_chain(sql: &str) -> bool {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
    tokens.is_ok_and(|tokens| long_chain(&tokens).is_some())
}
