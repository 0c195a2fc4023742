//! All tests that need more than the library: one binary, since linking it is most of the price.

mod backtest;
mod bed;
mod check;
mod end_to_end;
mod oracle;
mod outages;
mod tidy;
