//! The scalar functions that rules have beside DataFusion's: `ratio`, and the window constants.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array},
    datatypes::{DataType, Float64Type, Int64Type, TimeUnit},
};
use datafusion::{
    common::{Result, ScalarValue, exec_err},
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};

use crate::panes::{Millis, last_end_until};

/// The SQL name of the function that stands for the window constants: `window_at(slide, ms)` is the last multiple of
/// the slide at or before the evaluation, plus `ms`.
pub const WINDOW_AT: &str = "window_at";

/// The type of every time in SQL.
pub const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// The window end that a rule is being evaluated at. A plan is made once and run per window; this is its only input
/// beside the finished aggregates.
#[derive(Debug, Clone, Default)]
pub struct WindowCell(Arc<AtomicI64>);

impl WindowCell {
    /// Sets the window end of the evaluations to come.
    pub fn set(&self, end: Millis) {
        self.0.store(end, Ordering::Relaxed);
    }

    /// The window end set last.
    pub fn get(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

/// `ratio(a, b)`: a / b as a double, NULL where b is 0 or the result is not finite.
pub fn ratio() -> ScalarUDF {
    ScalarUDF::new_from_impl(Ratio {
        signature: Signature::exact(vec![DataType::Float64, DataType::Float64], Volatility::Immutable),
    })
}

/// `window_at(slide, ms)`, reading `cell`.
pub fn window_at(cell: WindowCell) -> ScalarUDF {
    ScalarUDF::new_from_impl(WindowAt {
        signature: Signature::exact(vec![DataType::Int64, DataType::Int64], Volatility::Volatile),
        cell: Cell(cell),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ratio {
    signature: Signature,
}

impl ScalarUDFImpl for Ratio {
    fn name(&self) -> &'static str {
        "ratio"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [a, b] = arrays.as_slice() else { return exec_err!("ratio takes two numbers") };
        let (a, b) = (a.as_primitive::<Float64Type>(), b.as_primitive::<Float64Type>());
        let quotient = |(a, b): (Option<f64>, Option<f64>)| {
            let value = a? / b.filter(|b| *b != 0.0)? + 0.0;
            value.is_finite().then_some(value)
        };
        let values: Float64Array = a.iter().zip(b.iter()).map(quotient).collect();
        Ok(ColumnarValue::Array(Arc::new(values) as ArrayRef))
    }
}

/// Cells are the same where they are the same place, not where they hold the same time.
#[derive(Debug, Clone)]
struct Cell(WindowCell);

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.0, &other.0.0)
    }
}

impl Eq for Cell {}

impl std::hash::Hash for Cell {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0.0).hash(state);
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowAt {
    signature: Signature,
    cell: Cell,
}

impl ScalarUDFImpl for WindowAt {
    fn name(&self) -> &'static str {
        WINDOW_AT
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(TIME)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = |at: usize| match args.args.get(at) {
            Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(value)))) => Ok(*value),
            Some(ColumnarValue::Array(array)) if !array.is_empty() => Ok(array.as_primitive::<Int64Type>().value(0)),
            _ => exec_err!("{WINDOW_AT} takes two constants"),
        };
        let at = last_end_until(self.cell.0.get(), constant(0)?.max(1)).saturating_add(constant(1)?);
        Ok(ColumnarValue::Scalar(ScalarValue::TimestampMillisecond(Some(at), None)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn a_ratio_is_null_where_it_has_no_value() {
        let float = |value: Option<f64>| ColumnarValue::Scalar(ScalarValue::Float64(value));
        let ratio = |a, b| {
            let field = Arc::new(Field::new("", DataType::Float64, true));
            let args = ScalarFunctionArgs {
                args: vec![float(a), float(b)],
                arg_fields: vec![Arc::clone(&field), Arc::clone(&field)],
                number_rows: 1,
                return_field: field,
                config_options: Arc::default(),
            };
            match ratio().inner().invoke_with_args(args).unwrap() {
                ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0).unwrap(),
                ColumnarValue::Scalar(value) => value,
            }
        };
        for (a, b, value) in [
            (Some(1.0), Some(4.0), Some(0.25)),
            (Some(1.0), Some(0.0), None),
            (Some(0.0), Some(0.0), None),
            (None, Some(1.0), None),
            (Some(1.0), None, None),
            (Some(-0.0), Some(1.0), Some(0.0)),
            (Some(1e300), Some(1e-300), None),
        ] {
            assert_eq!(ratio(a, b), ScalarValue::Float64(value), "{a:?} / {b:?}");
        }
    }
}
