//! Whole numbers that do not wrap: in DataFusion `+`, `-` and `*` of 64 bits overflow silently, and a wrong number is worse
//! than none. Here they become functions that fail instead; a rule that fails is fenced off and says so.

use std::sync::Arc;

use arrow::{compute::kernels::numeric, datatypes::DataType};
use datafusion::{
    common::{
        DFSchema, Result,
        config::ConfigOptions,
        exec_datafusion_err, exec_err,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{
        ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, Volatility, expr::ScalarFunction, expr_rewriter::NamePreserver, utils::merge_schema,
    },
    optimizer::AnalyzerRule,
};

/// The SQL names of the functions; rules do not call them themselves.
pub const NAMES: [&str; 3] = ["checked_add", "checked_sub", "checked_mul"];

/// The rewrite of a plan, to come after types are known.
#[derive(Debug)]
pub struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let one = |node: LogicalPlan| {
            let schema = merge_schema(&node.inputs());
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let saved = names.save(&expr);
                Ok(rewrite(expr, &schema)?.update_data(|expr| saved.restore(expr)))
            })?
            .map_data(LogicalPlan::recompute_schema)
        };
        Ok(plan.transform_up_with_subqueries(one)?.data)
    }
}

/// An expression whose whole numbers do not wrap.
pub fn rewrite(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        let Expr::BinaryExpr(binary) = &expr else { return Ok(Transformed::no(expr)) };
        let name = match binary.op {
            Operator::Plus => NAMES[0],
            Operator::Minus => NAMES[1],
            Operator::Multiply => NAMES[2],
            _ => return Ok(Transformed::no(expr)),
        };
        let whole = |side: &Expr| side.get_type(schema).is_ok_and(|kind| kind.is_integer());
        if !whole(&binary.left) || !whole(&binary.right) {
            return Ok(Transformed::no(expr));
        }
        let args = vec![binary.left.as_ref().clone(), binary.right.as_ref().clone()];
        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function(name)), args))))
    })
}

fn function(name: &'static str) -> ScalarUDF {
    ScalarUDF::new_from_impl(Checked { name, signature: Signature::any(2, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Int64))
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        let sign = match self.name {
            "checked_add" => "+",
            "checked_sub" => "-",
            _ => "*",
        };
        let parts: Vec<String> = args.iter().map(ToString::to_string).collect();
        Ok(format!("({})", parts.join(&format!(" {sign} "))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [a, b] = arrays.as_slice() else { return exec_err!("{} takes two numbers", self.name) };
        let result = match self.name {
            "checked_add" => numeric::add(a, b),
            "checked_sub" => numeric::sub(a, b),
            _ => numeric::mul(a, b),
        };
        let result = result.map_err(|error| {
            exec_datafusion_err!("whole numbers overflow ({error}): compute with doubles, CAST(x AS DOUBLE)")
        })?;
        Ok(ColumnarValue::Array(result))
    }
}
