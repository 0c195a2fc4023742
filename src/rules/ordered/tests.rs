//! The same however rows are cut, merged and ordered.

use arrow::array::{Int64Array, StringArray, TimestampMillisecondArray};

use super::*;

type Make<'a> = &'a dyn Fn() -> Box<dyn GroupsAccumulator>;

/// The result over rows taken in parts and merged in their order.
fn merged(make: Make<'_>, columns: &[ArrayRef], parts: &[&[u32]]) -> ArrayRef {
    let mut whole = make();
    for part in parts {
        let rows = arrow::array::UInt32Array::from(part.to_vec());
        let taken: Vec<ArrayRef> =
            columns.iter().map(|column| arrow::compute::take(column, &rows, None).unwrap()).collect();
        let mut one = make();
        one.update_batch(&taken, &vec![0; part.len()], None, 1).unwrap();
        whole.merge_batch(&one.state(EmitTo::All).unwrap(), &[0], 1).unwrap();
    }
    whole.evaluate(EmitTo::All).unwrap()
}

const ORDERS: [&[&[u32]]; 4] = [
    &[&[0, 1, 2, 3, 4, 5]],
    &[&[5, 4], &[3], &[2, 0, 1]],
    &[&[2], &[0], &[4], &[1, 3, 5]],
    &[&[], &[5, 0, 3, 1, 4, 2]],
];

#[test]
fn the_row_with_the_greatest_order_wins_and_of_several_the_greatest() {
    let versions: ArrayRef =
        Arc::new(StringArray::from(vec![Some("1.0"), Some("3.0"), Some("2.0"), None, Some("0.9"), Some("2.5")]));
    let order: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), Some(9), Some(9), Some(9), Some(1), None]));
    let picks = |wanted| {
        move || {
            Box::new(Picks { wanted, kinds: (DataType::Utf8, DataType::Int64), groups: Vec::new() })
                as Box<dyn GroupsAccumulator>
        }
    };
    for parts in ORDERS {
        let greatest = merged(&picks(Ordering::Greater), &[Arc::clone(&versions), Arc::clone(&order)], parts);
        let least = merged(&picks(Ordering::Less), &[Arc::clone(&versions), Arc::clone(&order)], parts);
        assert_eq!(
            (greatest.as_string::<i32>().value(0), least.as_string::<i32>().value(0)),
            ("3.0", "0.9"),
            "{parts:?}"
        );
    }
    assert!(merged(&picks(Ordering::Greater), &[versions, order], &[&[]]).is_null(0), "of nothing it is NULL");
}

#[test]
fn a_counter_rises_over_resets_and_reports_out_of_order() {
    // 10, 15, reset to 2, 7: it rose by 5, by 2 and by 5. Of two reports of one moment the greater counts.
    let counter: ArrayRef = Arc::new(Float64Array::from(vec![10.0, 15.0, 2.0, 7.0, 6.0, f64::NAN]));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1, 2, 3, 4, 4, 5]));
    let increases = || Box::new(Increases::default()) as Box<dyn GroupsAccumulator>;
    for parts in ORDERS {
        let rise = merged(&increases, &[Arc::clone(&counter), Arc::clone(&times)], parts);
        assert_eq!(rise.as_primitive::<Float64Type>().value(0), 12.0, "{parts:?}");
    }
}
