//! What is behind a breach: samples of the events that count against a rule, at a cost with a bound.
//!
//! `sample_events(…)` keeps, of each group, the hundred different rows with the least hashes (bottom-k sampling: Cohen and Kaplan,
//! *Summarizing data using bottom-k sketches*, PODC 2007). That is a uniform sample whose state merges in any order. Up
//! to a hundred different rows it is all of them, so shares are exact; beyond, they are estimates.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, BinaryBuilder, BooleanArray, StringArray},
    datatypes::{DataType, Field, FieldRef, Schema},
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::{
    common::{
        DataFusionError, Result, exec_err,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    execution::session_state::SessionState,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, Expr, ExprSchemable, GroupsAccumulator, LogicalPlan,
        Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
    sql::sqlparser::{dialect::GenericDialect, parser::Parser},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Output,
    aggregates::{binary, each_row, states_of_rows},
    check,
    diagnostics::{Diagnostic, Source, did_you_mean},
    header::Header,
    plan::{self, Cut, Diagnosis, FoldIds, FoldSpec, FoldUse},
    planner,
    rest::ResultCell,
};
use crate::panes::Hop;

/// The SQL name of the aggregate; rules do not call it themselves.
pub const NAME: &str = "sample_events";
/// How many rows of a group are kept.
const KEPT: usize = 100;
/// A text longer than this is cut.
const TEXT_MAX: usize = 120;

/// One row: its texts, NULL where there is none.
pub type Sample = Vec<Option<String>>;

/// Different rows, and how often each came.
pub type Samples = Vec<(Sample, i64)>;

/// The aggregate, to be registered.
pub fn aggregate() -> AggregateUDF {
    AggregateUDF::new_from_impl(SampleEvents { signature: Signature::variadic_any(Volatility::Immutable) })
}

/// The samples of one group from its finished result.
pub fn read(text: &str) -> Samples {
    serde_json::from_str(text).unwrap_or_default()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SampleEvents {
    signature: Signature,
}

impl AggregateUDFImpl for SampleEvents {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[state]", args.name), DataType::Binary, true))])
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        exec_err!("{NAME} is computed by groups")
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::default()))
    }
}

/// Different rows by hash, the least first, each with how often it came.
type Kept = BTreeMap<u64, (Sample, i64)>;

#[derive(Debug, Default)]
struct Groups {
    groups: Vec<Kept>,
}

fn keep(kept: &mut Kept, hash: u64, times: i64, sample: impl FnOnce() -> Result<Sample>) -> Result<()> {
    if let Some((_, known)) = kept.get_mut(&hash) {
        *known += times;
        return Ok(());
    }
    let full = kept.len() >= KEPT;
    if full && kept.last_key_value().is_some_and(|(last, _)| *last < hash) {
        return Ok(());
    }
    kept.insert(hash, (sample()?, times));
    if full {
        kept.pop_last();
    }
    Ok(())
}

fn cut_text(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize_with(total.max(self.groups.len()), Kept::default);
        let Some((time, shown)) = values.split_first() else { return Ok(()) };
        let options = FormatOptions::default();
        let columns: std::result::Result<Vec<ArrayFormatter<'_>>, _> =
            values.iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options)).collect();
        let columns = columns?;
        let mut outcome = Ok(());
        // The event time is never NULL, so each row is looked at.
        each_row(groups, time.as_ref(), filter, |group, row| {
            let mut row_of = || -> Result<()> {
                let mut text = String::new();
                for column in &columns {
                    column.value(row).write(&mut text)?;
                    text.push('\u{1f}');
                }
                keep(&mut self.groups[group], xxh3_64(text.as_bytes()), 1, || {
                    let of = |(column, array): (&ArrayFormatter<'_>, &ArrayRef)| -> Result<Option<String>> {
                        if array.is_null(row) {
                            Ok(None)
                        } else {
                            Ok(Some(cut_text(column.value(row).try_to_string()?)))
                        }
                    };
                    columns[1..].iter().zip(shown).map(of).collect()
                })
            };
            if let Err(error) = row_of() {
                outcome = Err(error);
            }
        });
        outcome
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let groups = emit.take_needed(&mut self.groups);
        let texts: Result<Vec<String>> = groups.iter().map(|kept| json(&kept.values().collect::<Vec<_>>())).collect();
        Ok(Arc::new(StringArray::from(texts?)))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut states = BinaryBuilder::new();
        for kept in emit.take_needed(&mut self.groups) {
            states.append_option(if kept.is_empty() { None } else { Some(json(&kept)?.into_bytes()) });
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups.resize_with(total.max(self.groups.len()), Kept::default);
        let states = binary(states)?;
        let mut outcome = Ok(());
        each_row(groups, states, None, |group, row| match serde_json::from_slice::<Kept>(states.value(row)) {
            Ok(kept) => {
                for (hash, (sample, times)) in kept {
                    if let Err(error) = keep(&mut self.groups[group], hash, times, || Ok(sample)) {
                        outcome = Err(error);
                    }
                }
            }
            Err(error) => outcome = exec_err!("samples cannot be read: {error}"),
        });
        outcome
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut rows = Self::default();
        states_of_rows(&mut rows, values, filter)
    }

    fn size(&self) -> usize {
        let of = |(sample, _): &(Sample, i64)| 32 + sample.iter().flatten().map(|text| 24 + text.len()).sum::<usize>();
        self.groups.iter().map(|kept| 48 + kept.values().map(of).sum::<usize>()).sum()
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| DataFusionError::Execution(error.to_string()))
}

/// True where what filters the aggregates is true or false.
fn is_condition(plan: &LogicalPlan) -> bool {
    let mut condition = true;
    let outcome = plan.apply(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            for expr in &aggregate.aggr_expr {
                if let Expr::AggregateFunction(call) = expr
                    && let Some(filter) = &call.params.filter
                {
                    condition &= filter.get_type(aggregate.input.schema()).is_ok_and(|kind| kind == DataType::Boolean);
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    outcome.is_ok() && condition
}

/// Plans what `diagnose` asks for: a fold beside the rule's first one, with the same filter and the series' keys.
pub fn diagnosis(
    header: &Header,
    cut: &Cut,
    output: &Output,
    state: &SessionState,
    source: &Arc<Source>,
) -> std::result::Result<Option<Diagnosis>, Diagnostic> {
    let Some(asked) = &header.diagnose else { return Ok(None) };
    let wrong = |span: &std::ops::Range<usize>, message: String, hint: String| {
        Diagnostic::error("diagnose", source, span.clone(), message, hint)
    };
    // The first window that has the columns.
    let has = |fold: &FoldUse| asked.by.iter().all(|column| fold.spec.table.column(column).is_some());
    let Some((at, fold)) = cut.folds.iter().enumerate().find(|(_, fold)| has(fold)) else {
        let tables: Vec<&str> = cut.folds.iter().map(|fold| fold.spec.table.name.as_str()).collect();
        let known = cut.folds.iter().flat_map(|fold| fold.spec.table.columns.iter().map(|column| column.name.as_str()));
        let known: Vec<&str> = known.collect();
        let missing = asked.by.iter().find(|column| !known.contains(&column.as_str()));
        let hint = missing.map(|missing| did_you_mean(missing, known)).unwrap_or_default();
        let message = match missing {
            Some(missing) => format!("`{missing}` is no column of {}", tables.join(" or ")),
            None => "no window has all of these columns".to_owned(),
        };
        return Err(wrong(&asked.span, message, hint));
    };
    let mut keys = Vec::new();
    for column in &output.keys {
        match cut.lineage[*column].iter().find(|(of, _)| *of == at) {
            Some((_, key)) => keys.push((*column, *key)),
            None => {
                let message = format!(
                    "the events of `{}` do not say which `{}` they belong to",
                    fold.spec.table.name,
                    output.schema.field(*column).name()
                );
                return Err(wrong(
                    &asked.span,
                    message,
                    "leave `diagnose` out, or group the events by the series".into(),
                ));
            }
        }
    }
    let table = &fold.spec.table;
    let trace = if table.column("trace_id").is_some() { "trace_id" } else { "CAST(NULL AS VARCHAR)" };
    let mut args = vec![table.event_time.clone(), trace.to_owned()];
    args.extend(asked.by.iter().cloned());
    let filter = asked.offending.as_ref().map(|p| format!(" FILTER (WHERE {})", p.sql)).unwrap_or_default();
    let sql = format!(
        "SELECT {NAME}({}){filter} AS s, count(*){filter} AS n FROM tumble({}, {}, INTERVAL '1 second')",
        args.join(", "),
        table.name,
        table.event_time
    );
    let place = asked.offending.as_ref().map_or(&asked.span, |predicate| &predicate.span);
    let columns =
        || format!("its columns are {}", table.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", "));
    let failed = |error: &DataFusionError| wrong(place, planner::short(error), columns());
    let statement = Parser::new(&GenericDialect {})
        .with_recursion_limit(60)
        .try_with_sql(&sql)
        .and_then(|mut parser| parser.parse_statement())
        .map_err(|error| wrong(place, planner::said(&error.to_string()), columns()))?;
    let statement = datafusion::sql::parser::Statement::Statement(Box::new(statement));
    let logical = futures::executor::block_on(state.statement_to_plan(statement)).map_err(|error| failed(&error))?;
    if let Some(problem) = check::refused(&logical, &|_| false, source, 0).into_iter().next() {
        return Err(wrong(place, problem.message, problem.hint));
    }
    if let Some(predicate) = &asked.offending
        && !is_condition(&logical)
    {
        let message = format!("`{}` is not true or false", predicate.sql);
        return Err(wrong(place, message, "write a comparison, such as status_code >= 500".into()));
    }
    let optimised = state.optimize(&logical).map_err(|error| failed(&error))?;
    let planned = plan::cut(optimised, source, 0)
        .map_err(|problems| wrong(place, problems.first().map(|p| p.message.clone()).unwrap_or_default(), columns()))?;
    let Some(sampled) = planned.folds.first() else { return Ok(None) };
    let key_fields = keys.iter().map(|(_, key)| fold.spec.key_fields[*key].clone());
    let spec = FoldSpec {
        table: Arc::clone(table),
        filter: fold.spec.filter.clone(),
        keys: keys.iter().map(|(_, key)| fold.spec.keys[*key].clone()).collect(),
        key_fields: key_fields.enumerate().map(|(at, field)| field.with_name(format!("k{at}"))).collect(),
        aggregates: sampled.spec.aggregates.clone(),
        pane_ms: fold.hop.pane_ms(),
        spread: Vec::new(),
    };
    let mut fields: Vec<Arc<Field>> = spec.key_fields.iter().cloned().map(Arc::new).collect();
    fields.extend(sampled.result.fields().iter().cloned());
    let result = Arc::new(Schema::new(fields));
    let of = |hop: Hop| FoldUse {
        ids: FoldIds::new(&spec),
        spec: spec.clone(),
        hop,
        result: Arc::clone(&result),
        zero_keys: Vec::new(),
        cell: ResultCell::new(Arc::clone(&result)),
    };
    let masked = asked.by.iter().map(|column| table.column(column).is_some_and(|column| column.masked)).collect();
    Ok(Some(Diagnosis {
        now: of(fold.hop),
        before: of(Hop { ago_ms: fold.hop.ago_ms + fold.hop.size_ms, ..fold.hop }),
        keys: keys.into_iter().map(|(column, _)| column).collect(),
        by: asked.by.clone(),
        masked,
        top: asked.top,
    }))
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};

    use super::*;

    #[test]
    fn samples_are_the_same_however_events_are_cut_and_merged() {
        let times: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1_000).map(|n| n % 400)));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..1_000).map(|n| format!("c{}", n % 7))));
        let over = |parts: &[std::ops::Range<usize>]| {
            let mut whole = Groups::default();
            for part in parts {
                let slices = [times.slice(part.start, part.len()), names.slice(part.start, part.len())];
                let mut one = Groups::default();
                one.update_batch(&slices, &vec![0; part.len()], None, 1).unwrap();
                whole.merge_batch(&one.state(EmitTo::All).unwrap(), &[0], 1).unwrap();
            }
            read(whole.evaluate(EmitTo::All).unwrap().as_string::<i32>().value(0))
        };
        let one = over(std::slice::from_ref(&(0..1_000)));
        assert_eq!(one.len(), KEPT);
        for parts in [&[0..1, 1..999, 999..1_000][..], &[500..1_000, 0..500], &[990..1_000, 300..990, 0..300]] {
            assert_eq!(over(parts), one, "{parts:?}");
        }
        // The same row counts as often as it came.
        assert_eq!(over(&[0..3, 400..403]).iter().map(|(_, times)| times).sum::<i64>(), 6);
    }
}
